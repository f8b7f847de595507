// Command pulumi-resource-docker is the Pulumi docker provider built from public Go modules: the Terraform docker
// provider behind Pulumi's bridge, with the resource names of the pulumi_docker Python package.
// It has no docker.Image and no buildx half: the program declares images that exist and builds none.
package main

import (
	"fmt"
	"unicode"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/terraform-providers/terraform-provider-docker/internal/provider"
)

// version is the plugin version of scripts/toolchain/versions.env, set with -ldflags -X.
var version = "0.0.0-unset"

// resources and functions name the upstream types as the pulumi_docker package does.
var resources = map[string]string{
	"docker_buildx_builder": "BuildxBuilder",
	"docker_config":         "ServiceConfig",
	"docker_container":      "Container",
	"docker_image":          "RemoteImage",
	"docker_network":        "Network",
	"docker_plugin":         "Plugin",
	"docker_registry_image": "RegistryImage",
	"docker_secret":         "Secret",
	"docker_service":        "Service",
	"docker_tag":            "Tag",
	"docker_volume":         "Volume",
}

var functions = map[string]string{
	"docker_image":                    "getRemoteImage",
	"docker_logs":                     "getLogs",
	"docker_network":                  "getNetwork",
	"docker_plugin":                   "getPlugin",
	"docker_registry_image":           "getRegistryImage",
	"docker_registry_image_manifests": "getRegistryImageManifests",
}

func token(name string) string {
	file := []rune(name)
	file[0] = unicode.ToLower(file[0])
	return fmt.Sprintf("docker:index/%s:%s", string(file), name)
}

func info() tfbridge.ProviderInfo {
	p := tfbridge.ProviderInfo{
		P:       shim.NewProvider(provider.New(version)()),
		Name:    "docker",
		Version: version,
		Config: map[string]*tfbridge.SchemaInfo{
			"host": {Default: &tfbridge.DefaultInfo{
				EnvVars: []string{"DOCKER_HOST"},
				Value:   "unix:///var/run/docker.sock",
			}},
			"registry_auth": {Name: "registryAuth", MaxItemsOne: tfbridge.False()},
		},
		Resources:   map[string]*tfbridge.ResourceInfo{},
		DataSources: map[string]*tfbridge.DataSourceInfo{},
	}
	for upstream, name := range resources {
		p.Resources[upstream] = &tfbridge.ResourceInfo{Tok: tokens.Type(token(name))}
	}
	for upstream, name := range functions {
		p.DataSources[upstream] = &tfbridge.DataSourceInfo{Tok: tokens.ModuleMember(token(name))}
	}

	container := p.Resources["docker_container"]
	container.DeleteBeforeReplace = true // two containers cannot have one name
	container.Fields = map[string]*tfbridge.SchemaInfo{
		"command":           {Name: "command"}, // the bridge would make these plural
		"networks_advanced": {Name: "networksAdvanced"},
	}
	p.Resources["docker_image"].Fields = map[string]*tfbridge.SchemaInfo{
		"name": {Name: "name"}, // a reference, never made up
	}
	p.SetAutonaming(255, "-")
	return p
}

func main() {
	schema := fmt.Sprintf(`{"name": "docker", "version": %q}`, version)
	tfbridge.Main("docker", version, info(), []byte(schema))
}
