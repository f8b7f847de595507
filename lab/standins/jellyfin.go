package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// jellyfinSystem is what is read of config/system.xml.
type jellyfinSystem struct {
	XMLName                  xml.Name `xml:"ServerConfiguration"`
	EnableMetrics            bool
	IsStartupWizardCompleted bool
	ServerName               string
}

// jellyfinNetwork is what is read of config/network.xml.
type jellyfinNetwork struct {
	XMLName          xml.Name `xml:"NetworkConfiguration"`
	BaseURL          string   `xml:"BaseUrl"`
	InternalHTTPPort int      `xml:"InternalHttpPort"`
	KnownProxies     []string `xml:"KnownProxies>string"`
}

type jellyfin struct {
	standIn
	system   jellyfinSystem
	serverID string
	baseURL  string
	port     int
	proxies  []netip.Prefix
	started  time.Time
}

// readXML leaves value as it is where the file is absent: the real server has defaults then.
func readXML(path string, value any) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(content, value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// jellyfinServerID reads or makes the identity which the real server keeps in data/device.txt.
func jellyfinServerID(dataDir string) (string, error) {
	path := filepath.Join(dataDir, "data", "device.txt")
	content, err := os.ReadFile(path)
	if err == nil {
		if id := strings.TrimSpace(string(content)); id != "" {
			return id, nil
		}
		return "", fmt.Errorf("%s is empty: remove it to get a new server identity", path)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	text := hex.EncodeToString(id)
	return text, writeFile(path, []byte(text), 0o644)
}

// parseProxies takes addresses, networks and host names, as KnownProxies does.
func parseProxies(entries []string) ([]netip.Prefix, error) {
	var known []netip.Prefix
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		if prefix, err := netip.ParsePrefix(entry); err == nil {
			known = append(known, prefix.Masked())
			continue
		}
		addrs := []string{entry}
		if _, err := netip.ParseAddr(entry); err != nil {
			if addrs, err = net.LookupHost(entry); err != nil {
				return nil, fmt.Errorf("network.xml: KnownProxies: %q: %w", entry, err)
			}
		}
		for _, a := range addrs {
			addr, err := netip.ParseAddr(a)
			if err != nil {
				return nil, fmt.Errorf("network.xml: KnownProxies: %q: %w", entry, err)
			}
			known = append(known, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return known, nil
}

func newJellyfin(s standIn, dataDir, configDir, cacheDir string) (*jellyfin, error) {
	j := &jellyfin{standIn: s, started: time.Now()}
	for _, dir := range []string{dataDir, cacheDir, configDir, filepath.Join(dataDir, "data")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot make %s: %w: mount a volume that uid %d may write", dir, err, os.Getuid())
		}
		if err := checkWritable(dir); err != nil {
			return nil, fmt.Errorf("%s is not writable: %w: mount a volume that uid %d may write", dir, err, os.Getuid())
		}
	}
	network := jellyfinNetwork{InternalHTTPPort: 8096}
	err := errors.Join(readXML(filepath.Join(configDir, "system.xml"), &j.system),
		readXML(filepath.Join(configDir, "network.xml"), &network))
	if err != nil {
		return nil, err
	}
	if j.proxies, err = parseProxies(network.KnownProxies); err != nil {
		return nil, err
	}
	if j.system.ServerName == "" {
		if j.system.ServerName, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	j.port = network.InternalHTTPPort
	if base := strings.Trim(network.BaseURL, "/"); base != "" {
		j.baseURL = "/" + base
	}
	j.serverID, err = jellyfinServerID(dataDir)
	return j, err
}

// client is the caller's address: the header is believed only as far as it comes from known proxies.
func (j *jellyfin) client(r *http.Request) string {
	addrPort, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr := addrPort.Addr().Unmap()
	known := func(a netip.Addr) bool {
		for _, p := range j.proxies {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(forwarded) - 1; i >= 0 && known(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(forwarded[i]))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	return addr.String()
}

func (j *jellyfin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "Healthy")
	})
	mux.HandleFunc("GET /System/Info/Public", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"LocalAddress":           "http://" + r.Host + j.baseURL,
			"ServerName":             j.system.ServerName,
			"Version":                j.version,
			"ProductName":            "Jellyfin Server",
			"OperatingSystem":        "",
			"Id":                     j.serverID,
			"StartupWizardCompleted": j.system.IsStartupWizardCompleted,
		})
	})
	mux.HandleFunc("GET /web/", func(w http.ResponseWriter, _ *http.Request) { j.page(w, "Jellyfin") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, j.baseURL+"/web/", http.StatusFound)
	})
	if j.system.EnableMetrics {
		mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			fmt.Fprintf(w, "# HELP nexus_stand_in 1: these are a stand-in's metrics.\n# TYPE nexus_stand_in gauge\n"+
				"nexus_stand_in{app=\"jellyfin\"} 1\n"+
				"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %d\n"+
				"# TYPE process_working_set_bytes gauge\nprocess_working_set_bytes %d\n", j.started.Unix(), m.Sys)
		})
	}
	logged := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" && r.URL.Path != "/metrics" {
			log.Printf("jellyfin: %s %q from %s", r.Method, r.URL.Path, j.client(r))
		}
		mux.ServeHTTP(w, r)
	})
	if j.baseURL == "" {
		return logged
	}
	based := http.NewServeMux()
	based.Handle(j.baseURL+"/", http.StripPrefix(j.baseURL, logged))
	based.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, j.baseURL+"/", http.StatusFound)
	})
	return based
}

func runJellyfin(ctx context.Context, s standIn, _ []string) error {
	s.announce()
	dataDir := envOr("JELLYFIN_DATA_DIR", "/config")
	j, err := newJellyfin(s, dataDir, envOr("JELLYFIN_CONFIG_DIR", filepath.Join(dataDir, "config")),
		envOr("JELLYFIN_CACHE_DIR", "/cache"))
	if err != nil {
		return err
	}
	return s.serve(ctx, ":"+strconv.Itoa(j.port), j.handler(), 5*time.Second)
}
