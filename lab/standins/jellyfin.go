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
	"syscall"
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

const (
	jellyfinSetup   = 3 * time.Second   // the real server migrates its database meanwhile
	jellyfinMinFree = uint64(1<<31) - 1 // bytes, each of its folders
)

type jellyfin struct {
	standIn
	setup    time.Duration
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

// checkFree is the real server's check at each start.
func checkFree(dir string, needed uint64) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return err
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < needed {
		return fmt.Errorf("the path `%s` has insufficient free space: %d MiB, needed are %d MiB", dir, free>>20, (needed+1)>>20)
	}
	return nil
}

func newJellyfin(s standIn, dataDir, configDir, cacheDir string) (*jellyfin, error) {
	j := &jellyfin{standIn: s, setup: jellyfinSetup, started: time.Now()}
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
	route(mux, "/health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "Healthy")
	})
	route(mux, "GET /system/info/public", func(w http.ResponseWriter, r *http.Request) {
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
		route(mux, "/metrics", func(w http.ResponseWriter, _ *http.Request) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			fmt.Fprintf(w, "# HELP nexus_stand_in 1: these are a stand-in's metrics.\n# TYPE nexus_stand_in gauge\n"+
				"nexus_stand_in{app=\"jellyfin\"} 1\n"+
				"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %d\n"+
				"# TYPE process_working_set_bytes gauge\nprocess_working_set_bytes %d\n", j.started.Unix(), m.Sys)
		})
	}
	// Every path is served below the prefixes of the servers that it comes from, too.
	logged := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" && r.URL.Path != "/metrics" {
			log.Printf("jellyfin: %s %q from %s", r.Method, r.URL.Path, j.client(r))
		}
		for _, prefix := range []string{"/emby", "/mediabrowser"} {
			if rest, ok := strings.CutPrefix(r.URL.Path, prefix); ok {
				r.URL.Path = "/" + strings.TrimPrefix(rest, "/")
				break
			}
		}
		mux.ServeHTTP(w, r)
	})
	if j.baseURL == "" {
		return anyCase(j.settingUp(logged))
	}
	based := http.NewServeMux()
	base := strings.ToLower(j.baseURL)
	based.Handle(base+"/", http.StripPrefix(base, logged))
	based.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if strings.TrimSuffix(r.URL.Path, "/") == "/health" {
			http.Redirect(w, r, j.baseURL+"/health", http.StatusFound)
			return
		}
		http.Redirect(w, r, j.baseURL+"/", http.StatusFound)
	})
	return anyCase(j.settingUp(based))
}

// settingUp is the server that answers while the real one migrates: its health has status 200, and says Degraded.
func (j *jellyfin) settingUp(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case time.Since(j.started) >= j.setup:
			next.ServeHTTP(w, r)
		case strings.TrimSuffix(r.URL.Path, "/") == "/health":
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "Degraded")
		default:
			w.Header().Set("Retry-After", "005")
			http.Error(w, "STAND-IN for jellyfin: it is starting", http.StatusServiceUnavailable)
		}
	})
}

func runJellyfin(ctx context.Context, s standIn, _ []string) error {
	s.announce()
	dataDir := envOr("JELLYFIN_DATA_DIR", "/config")
	j, err := newJellyfin(s, dataDir, envOr("JELLYFIN_CONFIG_DIR", filepath.Join(dataDir, "config")),
		envOr("JELLYFIN_CACHE_DIR", "/cache"))
	if err != nil {
		return err
	}
	for _, dir := range []string{filepath.Join(dataDir, "data"), envOr("JELLYFIN_CACHE_DIR", "/cache"), dataDir} {
		if err := checkFree(dir, jellyfinMinFree); err != nil {
			return err
		}
	}
	return s.serve(ctx, ":"+strconv.Itoa(j.port), j.handler(), 5*time.Second)
}
