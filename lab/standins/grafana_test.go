package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func basic(login, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(login+":"+password))
}

// grafanaDir is a data folder and provisioning files as the platform writes them.
func grafanaDir(t *testing.T, target string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "data", "keep"), "")
	write(t, filepath.Join(dir, "provisioning", "datasources", "all.yaml"), fmt.Sprintf(
		`{"apiVersion":1,"datasources":[{"name":"Prometheus","type":"prometheus","uid":"prom","url":%q,"isDefault":true,"editable":false,"jsonData":{"timeInterval":"15s"}}]}`, target))
	write(t, filepath.Join(dir, "provisioning", "dashboards", "all.yaml"), fmt.Sprintf(
		`{"apiVersion":1,"providers":[{"name":"nexus","type":"file","folder":"NEXUS","options":{"path":%q}}]}`, filepath.Join(dir, "dashboards")))
	write(t, filepath.Join(dir, "dashboards", "overview.json"), `{"uid":"overview","title":"Platform overview","tags":["nexus"],"panels":[{"id":1}]}`)
	return map[string]string{"GF_PATHS_DATA": filepath.Join(dir, "data"), "GF_PATHS_PROVISIONING": filepath.Join(dir, "provisioning"),
		"GF_SECURITY_ADMIN_PASSWORD": "first", "GF_SERVER_ROOT_URL": "https://grafana.localhost/"}
}

func makeGrafana(t *testing.T, settings map[string]string) *grafana {
	t.Helper()
	g, err := newGrafana(part(t, "grafana"), settings)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGrafanaAdminIsMadeOnce(t *testing.T) {
	settings := grafanaDir(t, "http://127.0.0.1:1")
	g := makeGrafana(t, settings)
	settings["GF_SECURITY_ADMIN_PASSWORD"] = "second"
	again := makeGrafana(t, settings)
	for _, c := range []struct {
		authorization string
		code          int
	}{{"", 401}, {basic("admin", "first"), 200}, {basic("admin", "second"), 401}, {basic("other", "first"), 401}} {
		for _, s := range []*grafana{g, again} {
			wantCode(t, get(t, s.standIn, s.handler(), "GET", "/api/org", "", "Authorization", c.authorization), c.code)
		}
	}
	if strings.Contains(fmt.Sprintf("%s", g.user.Hash), "first") {
		t.Error("the password is kept as it is")
	}
}

func TestGrafanaSettingsFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	write(t, path, "s3cret\n")
	settings, err := grafanaSettings([]string{"GF_SECURITY_ADMIN_PASSWORD__FILE=" + path, "HOME=/x"})
	if err != nil || settings["GF_SECURITY_ADMIN_PASSWORD"] != "s3cret" || len(settings) != 1 {
		t.Errorf("%v %v", settings, err)
	}
	_, err = grafanaSettings([]string{"GF_SECURITY_ADMIN_PASSWORD__FILE=" + path, "GF_SECURITY_ADMIN_PASSWORD=x"})
	wantError(t, err, "GF_SECURITY_ADMIN_PASSWORD", "exclusive")
	_, err = grafanaSettings([]string{"GF_SECURITY_ADMIN_PASSWORD__FILE=" + path + "2"})
	wantError(t, err, "GF_SECURITY_ADMIN_PASSWORD__FILE")
}

func TestGrafanaAnswers(t *testing.T) {
	g := makeGrafana(t, grafanaDir(t, "http://127.0.0.1:1"))
	h := g.handler()
	for _, c := range []struct {
		path string
		code int
		part string
	}{
		{"/api/datasources", 200, `"uid":"prom"`},
		{"/api/datasources/uid/prom", 200, `"readOnly":true`},
		{"/api/datasources/uid/none", 404, "not found"},
		{"/api/search", 200, `"url":"/d/overview/platform-overview"`},
		{"/api/search?query=OVERVIEW&type=dash-db", 200, "Platform overview"},
		{"/api/search?query=absent", 200, "[]"},
		{"/api/dashboards/uid/overview", 200, `"provisioned":true`},
		{"/api/dashboards/uid/none", 404, "not found"},
		{"/api/users", 404, "does not know"},
		{"/api/datasources/proxy/uid/prom/api/v1/query", 502, "did not answer"},
		{"/api/datasources/uid/prom/health", 400, `"status":"ERROR"`},
		{"/api/datasources/uid/none/health", 404, "not found"},
	} {
		wantCode(t, get(t, g.standIn, h, "GET", c.path, ""), 401)
		w := get(t, g.standIn, h, "GET", c.path, "", "Authorization", basic("admin", "first"))
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.part) {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
	}
	if w := get(t, g.standIn, h, "GET", "/api/health", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"database":"ok"`) {
		t.Errorf("health: %d %s", w.Code, w.Body)
	}
	if w := get(t, g.standIn, h, "GET", "/", ""); w.Code != 302 || w.Header().Get("Location") != "/login" {
		t.Errorf("/: %d %v", w.Code, w.Header())
	}
	if w := get(t, g.standIn, h, "GET", "/login", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "STAND-IN for grafana") {
		t.Errorf("/login: %d %s", w.Code, w.Body)
	}
	if w := get(t, g.standIn, h, "GET", "/metrics", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "grafana_stat_totals_dashboard 1\n") {
		t.Errorf("/metrics: %d %s", w.Code, w.Body)
	}
}

func TestGrafanaProxiesQueries(t *testing.T) {
	var seen []string
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Method+" "+r.URL.RequestURI()+" "+string(body)+r.Header.Get("Authorization"))
		fmt.Fprint(w, `{"status":"success"}`)
	}))
	defer target.Close()
	g := makeGrafana(t, grafanaDir(t, target.URL+"/base"))
	const path = "/api/datasources/proxy/uid/prom/api/v1/query"
	get(t, g.standIn, g.handler(), "GET", path+"?query=up%7Bjob%3D%22x%22%7D", "", "Authorization", basic("admin", "first"))
	w := get(t, g.standIn, g.handler(), "POST", path, "query=up", "Authorization", basic("admin", "first"))
	health := get(t, g.standIn, g.handler(), "GET", "/api/datasources/uid/prom/health", "", "Authorization", basic("admin", "first"))
	if health.Code != 200 || !strings.Contains(health.Body.String(), `"status":"OK"`) {
		t.Errorf("health: %d %s", health.Code, health.Body)
	}
	wantCode(t, get(t, g.standIn, g.handler(), "POST", path, "query=up"), 401)
	if w.Code != 200 || w.Body.String() != `{"status":"success"}` || len(seen) != 3 || seen[2] != "GET /base/api/v1/query?query=1%2B1 " ||
		seen[0] != "GET /base/api/v1/query?query=up%7Bjob%3D%22x%22%7D " || seen[1] != "POST /base/api/v1/query query=up" {
		t.Errorf("%d %s %q", w.Code, w.Body, seen)
	}
}

func TestGrafanaRefusesBadProvisioning(t *testing.T) {
	for name, c := range map[string]struct{ file, content, part string }{
		"yaml":         {"datasources/x.yml", "apiVersion: 1\n", "written as JSON only"},
		"version":      {"datasources/x.yaml", `{"datasources":[]}`, "apiVersion"},
		"no uid":       {"datasources/x.yaml", `{"apiVersion":1,"datasources":[{"name":"a","type":"loki"}]}`, "uid"},
		"twice":        {"datasources/x.yaml", `{"apiVersion":1,"datasources":[{"name":"b","type":"loki","uid":"prom"}]}`, "twice"},
		"two defaults": {"datasources/x.yaml", `{"apiVersion":1,"datasources":[{"name":"b","type":"loki","uid":"b","isDefault":true}]}`, "default"},
		"variable":     {"datasources/x.yaml", `{"apiVersion":1,"datasources":[{"name":"b","type":"loki","uid":"b","url":"http://$HOST"}]}`, "$"},
		"documents":    {"datasources/x.yaml", `{"apiVersion":1} {}`, "more than one"},
		"provider":     {"dashboards/x.yaml", `{"apiVersion":1,"providers":[{"name":"a","type":"file"}]}`, "options.path"},
		"no dashboard": {"dashboards/x.yaml", `{"apiVersion":1,"providers":[{"name":"a","options":{"path":"/nonexistent"}}]}`, "/nonexistent"},
		"no title":     {"../dashboards/x.json", `{"uid":"x"}`, "needs uid and title"},
		"same uid":     {"../dashboards/x.json", `{"uid":"overview","title":"x"}`, "twice"},
		"broken":       {"../dashboards/x.json", `{`, "x.json"},
	} {
		settings := grafanaDir(t, "http://127.0.0.1:1")
		write(t, filepath.Join(settings["GF_PATHS_PROVISIONING"], c.file), c.content)
		_, err := newGrafana(part(t, "grafana"), settings)
		if err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v", name, err)
		}
	}
	settings := grafanaDir(t, "http://127.0.0.1:1")
	settings["GF_PATHS_DATA"] += "/absent"
	_, err := newGrafana(part(t, "grafana"), settings)
	wantError(t, err, "GF_PATHS_DATA", "not writable")
}
