// Command pulumi-resource-random is the Pulumi random provider built from public Go modules: the Terraform random
// provider behind Pulumi's bridge, with the resource names of the pulumi_random Python package.
package main

import (
	"context"
	"errors"
	"fmt"

	pf "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/terraform-providers/terraform-provider-random/internal/provider"
)

// version is the plugin version of scripts/toolchain/versions.env, set with -ldflags -X.
var version = "0.0.0-unset"

func info() tfbridge.ProviderInfo {
	p := tfbridge.ProviderInfo{
		P:            pf.ShimProvider(provider.New()),
		Name:         "random",
		Version:      version,
		MetadataInfo: tfbridge.NewProviderMetadata([]byte(`{}`)),
		Resources: map[string]*tfbridge.ResourceInfo{
			// The one upstream resource without an id attribute; the released plugin takes the same one.
			"random_bytes": {ComputeID: bytesID},
		},
		EnableAccurateBridgePreview: true,
		EnableRawStateDelta:         true,
	}
	standard := tokens.MakeStandard("random")
	p.MustComputeTokens(tokens.SingleModule("random_", "index", func(module, name string) (string, error) {
		return standard(module, "Random"+name)
	}))
	return p
}

// bytesID is the base64 form of the bytes. An id is never encrypted in the state: RandomBytes is not for secrets.
func bytesID(_ context.Context, state resource.PropertyMap) (resource.ID, error) {
	value := state["base64"]
	if value.IsSecret() {
		value = value.SecretValue().Element
	}
	if !value.IsString() {
		return "", errors.New("random_bytes: upstream returned no base64")
	}
	return resource.ID(value.StringValue()), nil
}

func main() {
	schema := fmt.Sprintf(`{"name": "random", "version": %q}`, version)
	pf.Main(context.Background(), "random", info(), pf.ProviderMetadata{PackageSchema: []byte(schema)})
}
