package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"
)

// dockerStub answers on a Unix socket like an engine: /events stays open and sends line by line.
func dockerStub(t *testing.T) (string, chan struct{}) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s\n", r.Method, r.URL.RequestURI())
		if r.URL.Path == "/events" {
			w.(http.Flusher).Flush()
			<-release
		}
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return path, release
}

func parseProxy(t *testing.T, args ...string) socketProxyConfig {
	t.Helper()
	config, err := parseSocketProxy(args, nil)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestSocketProxyRules(t *testing.T) {
	socket, _ := dockerStub(t)
	const paths = `(/v1\..{1,2})?/(version|_ping|events|containers/(json|[a-zA-Z0-9_.-]+/json))`
	c := parseProxy(t, "-socketpath="+socket, "-allowfrom=192.0.2.0/24,10.0.0.0/8", "-allowGET="+paths, "-allowHEAD=/_ping")
	h, s := c.handler(), part(t, "socket-proxy")
	for _, x := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/version", 200}, {"GET", "/v1.41/containers/json?all=1", 200}, {"GET", "/containers/a.b-c_1/json", 200},
		{"HEAD", "/_ping", 200}, {"HEAD", "/version", 403}, {"GET", "/v1.41/containers/a/logs", 403}, {"GET", "/versions", 403},
		{"GET", "/x/version", 403}, {"GET", "/secrets", 403}, {"POST", "/containers/create", 405}, {"DELETE", "/version", 405},
	} {
		w := get(t, s, h, x.method, x.path, "") // httptest's requests come from 192.0.2.1
		if w.Code != x.code || (x.code == 200 && x.method == "GET" && w.Body.String() != "GET "+x.path+"\n") {
			t.Errorf("%s %s: %d %q", x.method, x.path, w.Code, w.Body)
		}
	}
	r := httptest.NewRequest("GET", "/version", nil)
	r.RemoteAddr = "198.51.100.9:1"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	wantCode(t, w, 403)
}

// The real one anchors without a group; the stand-in must not be kinder than it.
func TestSocketProxyBareAlternationIsNotAnchored(t *testing.T) {
	socket, _ := dockerStub(t)
	c := parseProxy(t, "-socketpath="+socket, "-allowfrom=192.0.2.0/24", "-allowGET=/_ping|/version")
	wantCode(t, get(t, part(t, "socket-proxy"), c.handler(), "GET", "/_ping/anything", ""), 200)
}

func TestSocketProxyStreams(t *testing.T) {
	socket, release := dockerStub(t)
	c := parseProxy(t, "-socketpath="+socket, "-allowGET=/events")
	server := httptest.NewServer(c.handler())
	defer server.Close()
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(server.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body := bufio.NewReader(response.Body)
	if line, err := body.ReadString('\n'); err != nil || line != "GET /events\n" { // arrives while the answer is open
		t.Errorf("%q %v", line, err)
	}
	close(release)
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Error(err)
	}
}

func TestSocketProxySettings(t *testing.T) {
	c := parseProxy(t)
	if c.listen != "127.0.0.1:2375" || c.socket != "/var/run/docker.sock" || c.healthcheck || c.grace != 10*time.Second || len(c.allowed) != 0 {
		t.Errorf("defaults: %+v", c)
	}
	c, err := parseSocketProxy([]string{"-allowGET=/flag", "-loglevel=debug"}, []string{"SP_LISTENIP=0.0.0.0", "SP_PROXYPORT=99",
		"SP_ALLOW_GET=/env", "SP_ALLOW_HEAD_0=/a", "SP_ALLOW_HEAD_1=/b", "SP_ALLOWHEALTHCHECK=true", "SP_LOGLEVEL=error"})
	if err != nil || c.listen != "0.0.0.0:99" || !c.healthcheck || c.logLevel != "DEBUG" || len(c.allowed["HEAD"]) != 2 ||
		len(c.allowed["GET"]) != 1 || c.allowed["GET"][0].String() != "^/flag$" {
		t.Errorf("%+v %v", c, err)
	}
	for _, args := range [][]string{{"-listenip=nowhere"}, {"-proxyport=0"}, {"-allowGET=("}, {"-loglevel=loud"}, {"-allowbindmountfrom=/x"}, {"extra"}} {
		if _, err := parseSocketProxy(args, nil); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	_, err = parseSocketProxy(nil, []string{"SP_PROXYPORT=http"})
	wantError(t, err, "SP_PROXYPORT")
}

func TestSocketProxyHealth(t *testing.T) {
	socket, _ := dockerStub(t)
	s := part(t, "socket-proxy")
	c := parseProxy(t, "-socketpath="+socket)
	wantCode(t, get(t, s, c.healthHandler(), "HEAD", "/health", ""), 200)
	wantCode(t, get(t, s, c.healthHandler(), "GET", "/health", ""), 405)
	wantCode(t, get(t, s, c.healthHandler(), "HEAD", "/", ""), 404)
	c.socket += ".absent"
	wantCode(t, get(t, s, c.healthHandler(), "HEAD", "/health", ""), 503)
	server := httptest.NewServer(c.healthHandler())
	defer server.Close()
	wantError(t, askHealth(t.Context(), "HEAD", server.URL+"/health"), "503")
	server.Close()
	wantError(t, askHealth(t.Context(), "HEAD", server.URL+"/health"), "refused")
}
