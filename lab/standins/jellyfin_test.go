package main

import (
	"encoding/json"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func makeJellyfin(t *testing.T, dir string) *jellyfin {
	t.Helper()
	j, err := newJellyfin(part(t, "jellyfin"), dir, filepath.Join(dir, "config"), filepath.Join(dir, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	j.setup = 0
	return j
}

func TestJellyfinStarts(t *testing.T) {
	dir := t.TempDir()
	j := makeJellyfin(t, dir)
	j.setup = time.Hour
	h := j.handler()
	if w := get(t, j.standIn, h, "GET", "/Health/", ""); w.Code != 200 || w.Body.String() != "Degraded" {
		t.Errorf("/health: %d %q", w.Code, w.Body)
	}
	if w := get(t, j.standIn, h, "GET", "/System/Info/Public", ""); w.Code != 503 || w.Header().Get("Retry-After") != "005" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	wantError(t, checkFree(dir, 1<<62), dir, "insufficient free space")
	if err := checkFree(dir, 1); err != nil {
		t.Error(err)
	}
}

// As ASP.NET, and below the prefixes that 10.11 still has.
func TestJellyfinPaths(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config", "system.xml"), "<ServerConfiguration><EnableMetrics>true</EnableMetrics></ServerConfiguration>")
	j := makeJellyfin(t, dir)
	h := j.handler()
	for _, path := range []string{"/metrics", "/Metrics", "/METRICS/", "/emby/metrics", "/MediaBrowser/Metrics", "/%6detrics"} {
		if w := get(t, j.standIn, h, "GET", path, ""); w.Code != 200 || !strings.Contains(w.Body.String(), "nexus_stand_in") {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := get(t, j.standIn, h, "GET", "/Emby/Health", ""); w.Body.String() != "Healthy" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/metrics/x", "/emby/emby/metrics", "/metrics;x", "/metric"} {
		wantCode(t, get(t, j.standIn, h, "GET", path, ""), 404)
	}
}

func TestJellyfinDefaults(t *testing.T) {
	dir := t.TempDir()
	j := makeJellyfin(t, dir)
	h := j.handler()
	if w := get(t, j.standIn, h, "GET", "/health", ""); w.Code != 200 || w.Body.String() != "Healthy" {
		t.Errorf("/health: %d %q", w.Code, w.Body)
	}
	if w := get(t, j.standIn, h, "GET", "/", ""); w.Code != 302 || w.Header().Get("Location") != "/web/" {
		t.Errorf("/: %d %q", w.Code, w.Header())
	}
	if w := get(t, j.standIn, h, "GET", "/web/", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "STAND-IN for jellyfin") {
		t.Errorf("/web/: %d %q", w.Code, w.Body)
	}
	wantCode(t, get(t, j.standIn, h, "GET", "/metrics", ""), 404)
	wantCode(t, get(t, j.standIn, h, "GET", "/Users", ""), 404)
	var info struct {
		ID                     string `json:"Id"`
		Version                string
		StartupWizardCompleted *bool
	}
	w := get(t, j.standIn, h, "GET", "/System/Info/Public", "")
	if err := json.Unmarshal(w.Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	if len(info.ID) != 32 || info.Version != j.version || info.StartupWizardCompleted == nil || *info.StartupWizardCompleted {
		t.Errorf("info: %s", w.Body)
	}
	if again := makeJellyfin(t, dir); again.serverID != info.ID || j.port != 8096 {
		t.Errorf("identity %q became %q; port %d", info.ID, again.serverID, j.port)
	}
}

func TestJellyfinFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config", "system.xml"), `<?xml version="1.0" encoding="utf-8"?>
<ServerConfiguration><EnableMetrics>true</EnableMetrics><ServerName>home</ServerName></ServerConfiguration>`)
	write(t, filepath.Join(dir, "config", "network.xml"), `<NetworkConfiguration><BaseUrl>/tv</BaseUrl>
<InternalHttpPort>9000</InternalHttpPort><KnownProxies><string>172.20.0.0/16</string></KnownProxies></NetworkConfiguration>`)
	j := makeJellyfin(t, dir)
	h := j.handler()
	if w := get(t, j.standIn, h, "GET", "/tv/metrics", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `nexus_stand_in{app="jellyfin"} 1`) {
		t.Errorf("/metrics: %d %s", w.Code, w.Body)
	}
	wantCode(t, get(t, j.standIn, h, "GET", "/tv/health", ""), 200)
	if w := get(t, j.standIn, h, "GET", "/tv/", ""); w.Header().Get("Location") != "/tv/web/" {
		t.Errorf("/tv/: %v", w.Header())
	}
	if w := get(t, j.standIn, h, "GET", "/", ""); w.Header().Get("Location") != "/tv/" {
		t.Errorf("/: %v", w.Header())
	}
	if j.port != 9000 || j.system.ServerName != "home" {
		t.Errorf("port %d, name %q", j.port, j.system.ServerName)
	}
	for _, c := range []struct{ remote, forwarded, client string }{
		{"172.20.0.3:1", "203.0.113.7", "203.0.113.7"},
		{"172.20.0.3:1", "198.51.100.1, 172.20.0.9", "198.51.100.1"},
		{"172.20.0.3:1", "6.6.6.6, 203.0.113.7", "203.0.113.7"}, // what a client forges stands left
		{"172.21.0.3:1", "203.0.113.7", "172.21.0.3"},           // not a known proxy
		{"172.20.0.3:1", "", "172.20.0.3"},
		{"172.20.0.3:1", "junk", "172.20.0.3"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		r.Header.Set("X-Forwarded-For", c.forwarded)
		if got := j.client(r); got != c.client {
			t.Errorf("%s via %q: %s, not %s", c.remote, c.forwarded, got, c.client)
		}
	}
}

func TestJellyfinRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	s := part(t, "jellyfin")
	write(t, filepath.Join(dir, "file"), "")
	_, err := newJellyfin(s, dir, filepath.Join(dir, "config"), filepath.Join(dir, "file", "cache"))
	wantError(t, err, filepath.Join(dir, "file", "cache"), "mount a volume")
	write(t, filepath.Join(dir, "config", "system.xml"), "<ServerConfiguration><EnableMetrics>perhaps</EnableMetrics></ServerConfiguration>")
	_, err = newJellyfin(s, dir, filepath.Join(dir, "config"), filepath.Join(dir, "cache"))
	wantError(t, err, "system.xml")
	write(t, filepath.Join(dir, "config", "system.xml"), "<Other/>")
	_, err = newJellyfin(s, dir, filepath.Join(dir, "config"), filepath.Join(dir, "cache"))
	wantError(t, err, "system.xml", "ServerConfiguration")
}
