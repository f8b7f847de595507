package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func envOf(pairs ...string) func(string) string {
	env := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return func(key string) string { return env[key] }
}

var arrAPIs = map[string]string{"sonarr": "/api/v3", "radarr": "/api/v3", "lidarr": "/api/v1", "prowlarr": "/api/v1"}

// arrPart is the stand-in of that name and its kind, as its image has them.
func arrPart(t *testing.T, app string) (standIn, arrKind) {
	t.Helper()
	kind := arrKind{Name: strings.ToUpper(app[:1]) + app[1:], Version: "1.2.3.4", API: arrAPIs[app], Port: 8989}
	program := filepath.Join(t.TempDir(), app)
	if err := writeJSONFile(program+".json", kind, 0o600); err != nil {
		t.Fatal(err)
	}
	s, args, err := choose([]string{program, "--nobrowser"})
	if err != nil || s.app != app || s.version != kind.Version || len(args) != 1 {
		t.Fatalf("%s with %q, %v", s.app, args, err)
	}
	return s, kind
}

func makeArr(t *testing.T, app, dir string, env ...string) *arr {
	t.Helper()
	s, kind := arrPart(t, app)
	a, err := newArr(s, kind, dir, envOf(env...))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestArrKeyPrecedence(t *testing.T) {
	dir := t.TempDir()
	given := makeArr(t, "sonarr", dir, "SONARR__AUTH__APIKEY", "from-environment")
	if _, err := os.Stat(filepath.Join(dir, "config.xml")); given.apiKey != "from-environment" || err == nil {
		t.Errorf("key %q; the key of the environment is not to be written down", given.apiKey)
	}
	made := makeArr(t, "sonarr", dir).apiKey
	if again := makeArr(t, "sonarr", dir).apiKey; len(made) != 32 || made != again {
		t.Errorf("made %q, then %q", made, again)
	}
	if key := makeArr(t, "sonarr", dir, "SONARR__AUTH__APIKEY", "env").apiKey; key != "env" {
		t.Errorf("config.xml won over the environment: %q", key)
	}
	if key := makeArr(t, "sonarr", dir, "RADARR__AUTH__APIKEY", "env").apiKey; key != made {
		t.Errorf("another server's variable was read: %q", key)
	}
}

func TestArrAuthorization(t *testing.T) {
	for app, api := range arrAPIs {
		a := makeArr(t, app, t.TempDir(), strings.ToUpper(app)+"__AUTH__APIKEY", "k1")
		h := a.handler()
		wantCode(t, get(t, a.standIn, h, "GET", api+"/system/status", ""), 401)
		wantCode(t, get(t, a.standIn, h, "GET", api+"/system/status", "", "X-Api-Key", "k2"), 401)
		wantCode(t, get(t, a.standIn, h, "GET", api+"/nothing", ""), 401)
		wantCode(t, get(t, a.standIn, h, "GET", api+"/nothing", "", "X-Api-Key", "k1"), 404)
		wantCode(t, get(t, a.standIn, h, "GET", api+"/system/status?apikey=k1", ""), 200)
		wantCode(t, get(t, a.standIn, h, "GET", "/ping", ""), 200)
		wantCode(t, get(t, a.standIn, h, "HEAD", "/ping", ""), 200)
		if w := get(t, a.standIn, h, "GET", api+"/downloadclient", "", "X-Api-Key", "k1"); strings.TrimSpace(w.Body.String()) != "[]" {
			t.Errorf("%s: downloadclient: %d %s", app, w.Code, w.Body)
		}
	}
	for _, app := range []string{"prowlarr", "lidarr"} {
		p := makeArr(t, app, t.TempDir(), strings.ToUpper(app)+"__AUTH__APIKEY", "k")
		wantCode(t, get(t, p.standIn, p.handler(), "GET", "/api/v1/rootfolder", "", "X-Api-Key", "k"), 404)
	}
}

func TestArrPingSeesTheDatabase(t *testing.T) {
	a := makeArr(t, "radarr", t.TempDir())
	h := a.handler()
	if w := get(t, a.standIn, h, "GET", "/ping", ""); strings.TrimSpace(w.Body.String()) != `{"status":"OK"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	write(t, a.database(), "not json")
	wantCode(t, get(t, a.standIn, h, "GET", "/ping", ""), 500)
	if err := os.Remove(a.database()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, get(t, a.standIn, h, "GET", "/ping", ""), 500)
}

func TestArrRootFolders(t *testing.T) {
	dir, media := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(media, "Some Series"), 0o755); err != nil {
		t.Fatal(err)
	}
	a := makeArr(t, "sonarr", dir, "SONARR__AUTH__APIKEY", "k")
	h := a.handler()
	post := func(path string) (int, string) {
		body, _ := json.Marshal(map[string]string{"path": path})
		w := get(t, a.standIn, h, "POST", "/api/v3/rootfolder", string(body), "X-Api-Key", "k")
		return w.Code, w.Body.String()
	}
	for path, problem := range map[string]string{
		"": "Invalid Path", "relative": "Invalid Path", filepath.Join(media, "absent"): "does not exist",
		"/proc/self": "not writable",
	} {
		if code, body := post(path); code != 400 || !strings.Contains(body, problem) || !strings.Contains(body, `"propertyName":"Path"`) {
			t.Errorf("%q: %d %s", path, code, body)
		}
	}
	code, body := post(media + "/")
	var folder struct {
		ID              int
		Path            string
		Accessible      bool
		FreeSpace       int64
		UnmappedFolders []struct{ Name, Path string }
	}
	if err := json.Unmarshal([]byte(body), &folder); err != nil || code != 201 || folder.Path != media || !folder.Accessible ||
		folder.FreeSpace <= 0 || len(folder.UnmappedFolders) != 1 || folder.UnmappedFolders[0].Path != filepath.Join(media, "Some Series") {
		t.Errorf("%d %s %v", code, body, err)
	}
	if code, body := post(media); code != 400 || !strings.Contains(body, "already configured") {
		t.Errorf("twice: %d %s", code, body)
	}
	again := makeArr(t, "sonarr", dir, "SONARR__AUTH__APIKEY", "k") // a restart keeps it
	if w := get(t, a.standIn, again.handler(), "GET", "/api/v3/rootfolder", "", "X-Api-Key", "k"); !strings.Contains(w.Body.String(), media) {
		t.Errorf("after a restart: %s", w.Body)
	}
	if err := os.RemoveAll(media); err != nil {
		t.Fatal(err)
	}
	w := get(t, a.standIn, h, "GET", "/api/v3/health", "", "X-Api-Key", "k")
	if !strings.Contains(w.Body.String(), "RootFolderCheck") || !strings.Contains(w.Body.String(), "ApiKeyValidationCheck") {
		t.Errorf("health: %s", w.Body)
	}
}

func TestArrSettings(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.xml"), "<Config><Port>1234</Port><ApiKey>k</ApiKey><AuthenticationMethod>Forms</AuthenticationMethod></Config>")
	a := makeArr(t, "sonarr", dir)
	if a.port != 1234 || a.apiKey != "k" || a.auth != "forms" || a.instanceName != "Sonarr" {
		t.Errorf("from config.xml: %+v", a)
	}
	if w := get(t, a.standIn, a.handler(), "GET", "/", ""); w.Code != 302 || w.Header().Get("Location") != "/login?returnUrl=/" {
		t.Errorf("forms: %d %v", w.Code, w.Header())
	}
	a = makeArr(t, "sonarr", dir, "SONARR__SERVER__PORT", "8989", "SONARR__AUTH__METHOD", "External",
		"SONARR__SERVER__URLBASE", "/tv/", "SONARR__APP__INSTANCENAME", "Sonarr home")
	h := a.handler()
	if a.port != 8989 || a.auth != "external" || a.urlBase != "/tv" || a.instanceName != "Sonarr home" {
		t.Errorf("from the environment: %+v", a)
	}
	if w := get(t, a.standIn, h, "GET", "/tv/", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "STAND-IN for sonarr") {
		t.Errorf("external: %d %s", w.Code, w.Body)
	}
	if w := get(t, a.standIn, h, "GET", "/ping", ""); w.Code != 307 || w.Header().Get("Location") != "/tv/ping" {
		t.Errorf("outside the base: %d %v", w.Code, w.Header())
	}
	wantCode(t, get(t, a.standIn, h, "GET", "/tv/ping", ""), 200)
	// A misspelt value is silently not taken, as with the real server.
	if a := makeArr(t, "sonarr", dir, "SONARR__AUTH__METHOD", "external", "SONARR__APP__INSTANCENAME", "tv"); a.auth != "forms" || a.instanceName != "Sonarr" {
		t.Errorf("misspelt: %q %q", a.auth, a.instanceName)
	}
	s, kind := arrPart(t, "sonarr")
	_, err := newArr(s, kind, dir, envOf("SONARR__SERVER__PORT", "http"))
	wantError(t, err, "SONARR__SERVER__PORT")
	_, err = newArr(s, kind, filepath.Join(dir, "absent"), envOf())
	wantError(t, err, "absent", "not writable")
	if got := arrDataDir([]string{"--nobrowser", "--data=/x"}); got != "/x" {
		t.Errorf("data folder %q", got)
	}
}

// The page's first request gives the key to whoever is signed in, and to method External everybody is.
func TestArrGivesItsKeyOut(t *testing.T) {
	for auth, code := range map[string]int{"External": 200, "None": 200, "Forms": 302} {
		a := makeArr(t, "prowlarr", t.TempDir(), "PROWLARR__AUTH__APIKEY", "the-key", "PROWLARR__AUTH__METHOD", auth)
		for _, path := range []string{"/initialize.json", "/Initialize.JSON"} {
			w := get(t, a.standIn, a.handler(), "GET", path, "")
			if w.Code != code || strings.Contains(w.Body.String(), `"apiKey":"the-key"`) != (code == 200) {
				t.Errorf("%s %s: %d %s", auth, path, w.Code, w.Body)
			}
		}
	}
}

func TestArrPathsAndKeys(t *testing.T) {
	a := makeArr(t, "sonarr", t.TempDir(), "SONARR__AUTH__APIKEY", "k")
	for _, c := range []struct {
		path, key, value string
		code             int
	}{
		{"/Ping/", "", "", 200}, {"/API/V3/System/Status", "", "", 401}, {"/API/V3/System/Status", "X-Api-Key", "k", 200},
		{"/api/v3/system/status/?apikey=k", "", "", 200}, {"/api/v3/health", "Authorization", "Bearer k", 200},
		{"/api/v3/health?apikey=x", "X-Api-Key", "k", 401},
	} {
		if w := get(t, a.standIn, a.handler(), "GET", c.path, "", c.key, c.value); w.Code != c.code {
			t.Errorf("%s %s: %d, not %d", c.path, c.key, w.Code, c.code)
		}
	}
}
