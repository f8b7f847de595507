package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// get asks a handler as the outside does: with the stand-in's mark.
func get(t *testing.T, s standIn, h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.mark(h).ServeHTTP(w, r)
	if got := w.Header().Get(standInHeader); got != s.app {
		t.Errorf("%s %s: header %s is %q, not %q", method, target, standInHeader, got, s.app)
	}
	return w
}

func part(t *testing.T, app string) standIn {
	t.Helper()
	s, _, err := choose([]string{app})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, w *httptest.ResponseRecorder, code int) {
	t.Helper()
	if w.Code != code {
		t.Errorf("answered %d, not %d: %s", w.Code, code, w.Body)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; expected one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		argv string
		app  string
		args int
	}{
		{"/jellyfin/jellyfin", "jellyfin", 0},
		{"/gluetun-entrypoint healthcheck", "gluetun", 1},
		{"/usr/local/bin/nexus-standin /run.sh", "grafana", 0},
		{"/socket-proxy -loglevel=info", "socket-proxy", 1},
		{"./healthcheck", "socket-proxy", 0},
	} {
		s, args, err := choose(strings.Fields(c.argv))
		if err != nil || s.app != c.app || len(args) != c.args {
			t.Errorf("%q: %s with %q, %v", c.argv, s.app, args, err)
		}
	}
	for _, argv := range []string{"nexus-standin", "nexus-standin plex", "nexus-standin x grafana", "/app/bin/Sonarr --data=/config"} {
		if _, _, err := choose(strings.Fields(argv)); err == nil {
			t.Errorf("%q: no error", argv)
		}
	}
}

func TestServeAnswersAndEnds(t *testing.T) {
	s := part(t, "jellyfin")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	wantError(t, s.serve(t.Context(), addr, http.NotFoundHandler(), time.Second), "cannot listen on "+addr)
	free.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.serve(ctx, addr, http.NotFoundHandler(), time.Second) }()
	var response *http.Response
	for range 100 {
		if response, err = http.Get("http://" + addr); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 404 || response.Header.Get("X-Nexus-Stand-In") != "jellyfin" {
		t.Errorf("%s, %v", response.Status, response.Header)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWriteFileLeavesNoRest(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"one", "two"} {
		if err := writeFile(filepath.Join(dir, "f"), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(filepath.Join(dir, "f"))
	entries, _ := os.ReadDir(dir)
	info, _ := os.Stat(filepath.Join(dir, "f"))
	if err != nil || string(content) != "two" || len(entries) != 1 || info.Mode().Perm() != 0o640 {
		t.Errorf("%q, %v, %v, %v", content, err, entries, info.Mode())
	}
	wantError(t, writeFile(filepath.Join(dir, "absent", "f"), nil, 0o600), "absent")
}
