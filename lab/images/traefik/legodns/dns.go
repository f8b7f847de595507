// Package dns takes the place of lego's own package of this name when the lab compiles Traefik: it keeps the
// three DNS providers that need no vendor's account, so that the SDKs of all the others are not compiled.
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/providers/dns/exec"
	"github.com/go-acme/lego/v4/providers/dns/httpreq"
	"github.com/go-acme/lego/v4/providers/dns/rfc2136"
)

// NewDNSChallengeProviderByName returns the DNS provider that Traefik's configuration names.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	switch name {
	case "exec":
		return exec.NewDNSProvider()
	case "httpreq":
		return httpreq.NewDNSProvider()
	case "rfc2136":
		return rfc2136.NewDNSProvider()
	default:
		return nil, fmt.Errorf("DNS provider %q is not in the lab's build of Traefik (it has exec, httpreq, rfc2136)", name)
	}
}
