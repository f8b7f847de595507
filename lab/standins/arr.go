package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// arrKind is what differs between the *arr servers. It lies beside the program, under its name and .json.
type arrKind struct {
	Name    string `json:"name"` // as the server writes itself
	Version string `json:"version"`
	API     string `json:"api"`
	Port    int    `json:"port"`
}

// chooseArr is the *arr server that a program plays; found is false where nothing beside it says so.
func chooseArr(program string) (s standIn, found bool, err error) {
	var kind arrKind
	if err := readJSONFile(program+".json", &kind); errors.Is(err, os.ErrNotExist) {
		return s, false, nil
	} else if err != nil {
		return s, true, err
	}
	run := func(ctx context.Context, s standIn, args []string) error { return runArr(ctx, s, kind, args) }
	return standIn{app: strings.ToLower(kind.Name), version: kind.Version, run: run}, true, nil
}

// arrConfigXML is what is read of config.xml; the environment wins over it.
type arrConfigXML struct {
	XMLName              xml.Name `xml:"Config"`
	Port                 int      `xml:"Port,omitempty"`
	APIKey               string   `xml:"ApiKey"`
	AuthenticationMethod string   `xml:"AuthenticationMethod,omitempty"`
	URLBase              string   `xml:"UrlBase,omitempty"`
	InstanceName         string   `xml:"InstanceName,omitempty"`
}

type arrRootFolder struct {
	ID   int    `json:"id"`
	Path string `json:"path"`
}

// arrState is the stand-in's database: one JSON file in the data folder.
type arrState struct {
	RootFolders []arrRootFolder `json:"rootFolders"`
	NextID      int             `json:"nextId"`
}

type arr struct {
	standIn
	kind         arrKind
	dataDir      string
	port         int
	bind         string
	apiKey       string
	auth         string // none, forms or external
	urlBase      string
	instanceName string
	started      time.Time
	mu           sync.Mutex // guards the database file
}

func (a *arr) database() string { return filepath.Join(a.dataDir, a.app+".stand-in.json") }

// arrAuth maps the setting as the real parser does: exact spelling, else not set.
func arrAuth(value string) string {
	switch value {
	case "None":
		return "none"
	case "Basic", "Forms":
		return "forms"
	case "External":
		return "external"
	}
	return ""
}

func newArr(s standIn, kind arrKind, dataDir string, getenv func(string) string) (*arr, error) {
	a := &arr{standIn: s, kind: kind, dataDir: dataDir, started: time.Now()}
	if err := checkWritable(dataDir); err != nil {
		return nil, fmt.Errorf("data folder %s is not writable: %w: mount a volume that uid %d may write", dataDir, err, os.Getuid())
	}
	env := func(key string) string { return getenv(strings.ToUpper(s.app) + "__" + key) }

	var file arrConfigXML
	configPath := filepath.Join(dataDir, "config.xml")
	if err := readXML(configPath, &file); err != nil {
		return nil, err
	}
	if a.apiKey = env("AUTH__APIKEY"); a.apiKey == "" {
		a.apiKey = file.APIKey
	}
	if a.apiKey == "" {
		key := make([]byte, 16)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		a.apiKey, file.APIKey = hex.EncodeToString(key), hex.EncodeToString(key)
		content, err := xml.MarshalIndent(file, "", "  ")
		if err != nil {
			return nil, err
		}
		if err := writeFile(configPath, append(content, '\n'), 0o600); err != nil {
			return nil, err
		}
		log.Printf("%s: no API key given: made one in %s", s.app, configPath)
	}

	a.port = kind.Port
	if file.Port != 0 {
		a.port = file.Port
	}
	if v := env("SERVER__PORT"); v != "" {
		port, err := strconv.Atoi(v)
		if err != nil || port < 1 || port > 65535 {
			return nil, fmt.Errorf("%s__SERVER__PORT: not a port number", strings.ToUpper(s.app))
		}
		a.port = port
	}
	if a.bind = env("SERVER__BINDADDRESS"); a.bind == "*" {
		a.bind = ""
	}
	if a.auth = arrAuth(env("AUTH__METHOD")); a.auth == "" {
		if a.auth = arrAuth(file.AuthenticationMethod); a.auth == "" {
			a.auth = "none"
		}
	}
	base := env("SERVER__URLBASE")
	if base == "" {
		base = file.URLBase
	}
	if base = strings.Trim(base, "/"); base != "" {
		a.urlBase = "/" + base
	}
	// The real server takes an instance name only if it begins or ends with its own.
	a.instanceName = kind.Name
	for _, name := range []string{file.InstanceName, env("APP__INSTANCENAME")} {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, s.app) || strings.HasSuffix(lower, s.app) {
			a.instanceName = name
		}
	}

	if _, err := os.Stat(a.database()); errors.Is(err, os.ErrNotExist) {
		if err := writeJSONFile(a.database(), arrState{RootFolders: []arrRootFolder{}, NextID: 1}, 0o644); err != nil {
			return nil, err
		}
	}
	if _, err := a.load(); err != nil {
		return nil, err
	}
	return a, nil
}

// load opens the database for reading and writing, as a server would hold it.
func (a *arr) load() (arrState, error) {
	var state arrState
	f, err := os.OpenFile(a.database(), os.O_RDWR, 0)
	if err != nil {
		return state, err
	}
	content, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return state, err
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return state, fmt.Errorf("%s: %w", a.database(), err)
	}
	return state, nil
}

// authorized looks for the key where the real servers do, in their order.
func (a *arr) authorized(r *http.Request) bool {
	key := strings.Replace(r.Header.Get("Authorization"), "Bearer ", "", 1)
	if r.URL.Query().Has("apikey") {
		key = r.URL.Query().Get("apikey")
	} else if len(r.Header.Values("X-Api-Key")) > 0 {
		key = r.Header.Get("X-Api-Key")
	}
	return subtle.ConstantTimeCompare([]byte(key), []byte(a.apiKey)) == 1
}

func (a *arr) ping(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	_, err := a.load()
	a.mu.Unlock()
	if err != nil {
		log.Printf("%s: ping: %v", a.app, err)
		writeJSON(w, http.StatusInternalServerError, map[string]string{"status": "Error"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "OK"})
}

// osRelease is one value of /etc/os-release, or "unknown".
func osRelease(key string) string {
	content, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return "unknown"
}

func (a *arr) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"appName":                       a.kind.Name,
		"instanceName":                  a.instanceName,
		"version":                       a.version,
		"buildTime":                     "2026-01-01T00:00:00Z",
		"isDebug":                       false,
		"isProduction":                  true,
		"isAdmin":                       os.Getuid() == 0,
		"isUserInteractive":             false,
		"startupPath":                   "/app/bin",
		"appData":                       a.dataDir,
		"osName":                        osRelease("ID"),
		"osVersion":                     osRelease("VERSION_ID"),
		"isNetCore":                     true,
		"isLinux":                       true,
		"isOsx":                         false,
		"isWindows":                     false,
		"isDocker":                      true,
		"mode":                          "console",
		"branch":                        "stand-in",
		"authentication":                a.auth,
		"databaseType":                  "sqLite",
		"databaseVersion":               "stand-in",
		"migrationVersion":              0,
		"urlBase":                       a.urlBase,
		"runtimeName":                   "stand-in",
		"runtimeVersion":                runtime.Version(),
		"startTime":                     a.started.UTC().Format(time.RFC3339),
		"packageVersion":                a.version,
		"packageAuthor":                 "stand-in",
		"packageUpdateMechanism":        "docker",
		"packageUpdateMechanismMessage": "STAND-IN for " + a.app + ": not the real server",
	})
}

// rootFolderResource fills in what the real server reads from the folder itself.
func rootFolderResource(f arrRootFolder) map[string]any {
	resource := map[string]any{"id": f.ID, "path": f.Path, "accessible": false, "unmappedFolders": []any{}}
	entries, err := os.ReadDir(f.Path)
	if err != nil {
		return resource
	}
	resource["accessible"] = true
	var fs syscall.Statfs_t
	if syscall.Statfs(f.Path, &fs) == nil {
		resource["freeSpace"] = int64(fs.Bavail) * fs.Bsize
	}
	unmapped := []any{}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			unmapped = append(unmapped, map[string]string{
				"name": e.Name(), "path": filepath.Join(f.Path, e.Name()), "relativePath": e.Name()})
		}
	}
	resource["unmappedFolders"] = unmapped
	return resource
}

func (a *arr) listRootFolders(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	state, err := a.load()
	a.mu.Unlock()
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]string{"message": err.Error()})
		return
	}
	resources := []any{}
	for _, f := range state.RootFolders {
		resources = append(resources, rootFolderResource(f))
	}
	writeJSON(w, http.StatusOK, resources)
}

// checkRootFolder is the real validator: the folder exists, may be written, is not there already.
func checkRootFolder(path string, state arrState) string {
	if !filepath.IsAbs(path) {
		return fmt.Sprintf("Invalid Path: '%s'", path)
	}
	if slices.ContainsFunc(state.RootFolders, func(f arrRootFolder) bool { return f.Path == path }) {
		return fmt.Sprintf("Path '%s' is already configured as a root folder", path)
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return fmt.Sprintf("Path '%s' does not exist", path)
	}
	if err := checkWritable(path); err != nil {
		return fmt.Sprintf("Folder '%s' is not writable by user '%d'", path, os.Getuid())
	}
	return ""
}

func (a *arr) addRootFolder(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Path string `json:"path"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&asked); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"message": err.Error()})
		return
	}
	path := asked.Path
	if path != "" {
		path = filepath.Clean(path)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	state, err := a.load()
	if err == nil {
		if problem := checkRootFolder(path, state); problem != "" {
			writeJSON(w, http.StatusBadRequest, []map[string]any{{"propertyName": "Path", "errorMessage": problem,
				"attemptedValue": asked.Path, "severity": "error"}})
			return
		}
		folder := arrRootFolder{ID: state.NextID, Path: path}
		state.RootFolders = append(state.RootFolders, folder)
		state.NextID++
		if err = writeJSONFile(a.database(), state, 0o644); err == nil {
			writeJSON(w, http.StatusCreated, rootFolderResource(folder))
			return
		}
	}
	log.Printf("%s: rootfolder: %v", a.app, err)
	writeJSON(w, http.StatusInternalServerError, map[string]string{"message": err.Error()})
}

func (a *arr) health(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	state, err := a.load()
	a.mu.Unlock()
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]string{"message": err.Error()})
		return
	}
	issues := []any{}
	// Without wikiUrl: Sonarr's description calls it an object, the server itself sends a string.
	add := func(source, kind, message string) {
		issues = append(issues, map[string]any{"id": len(issues) + 1, "source": source, "type": kind, "message": message})
	}
	if len(a.apiKey) < 20 {
		add("ApiKeyValidationCheck", "warning", "Please update your API key to be at least 20 characters long.")
	}
	for _, f := range state.RootFolders {
		if _, err := os.ReadDir(f.Path); err != nil {
			add("RootFolderCheck", "error", "Missing root folder: "+f.Path)
		}
	}
	writeJSON(w, http.StatusOK, issues)
}

// signedIn says whether the page is served; who is not signed in is sent to the login. Method None and method External
// ask for nothing: whoever reaches the server is signed in.
func (a *arr) signedIn(w http.ResponseWriter, r *http.Request) bool {
	if a.auth == "forms" {
		http.Redirect(w, r, a.urlBase+"/login?returnUrl="+a.urlBase+r.URL.Path, http.StatusFound)
		return false
	}
	return true
}

// initialize is what the page asks for first. It holds the API key.
func (a *arr) initialize(w http.ResponseWriter, r *http.Request) {
	if a.signedIn(w, r) {
		writeJSON(w, http.StatusOK, map[string]any{"apiRoot": a.urlBase + a.kind.API, "apiKey": a.apiKey, "release": "stand-in",
			"version": a.version, "instanceName": a.instanceName, "theme": "auto", "branch": "stand-in", "analytics": false,
			"userHash": "stand-in", "urlBase": a.urlBase, "isProduction": true})
	}
}

func (a *arr) handler() http.Handler {
	api := http.NewServeMux()
	route(api, "GET "+a.kind.API+"/system/status", a.status)
	route(api, "GET "+a.kind.API+"/health", a.health)
	route(api, "GET "+a.kind.API+"/downloadclient", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, []any{})
	})
	// Of the v1 servers Prowlarr has none, and Lidarr's are of another form, which is not played.
	if a.kind.API == "/api/v3" {
		route(api, "GET "+a.kind.API+"/rootfolder", a.listRootFolders)
		route(api, "POST "+a.kind.API+"/rootfolder", a.addRootFolder)
	}
	mux := http.NewServeMux()
	route(mux, "GET /ping", a.ping)
	route(mux, "GET /initialize.json", a.initialize)
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		if !a.authorized(r) {
			writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "Unauthorized"})
			return
		}
		if _, pattern := api.Handler(r); pattern == "" {
			writeJSON(w, http.StatusNotFound, map[string]string{"message": "NotFound: the stand-in does not know " + r.URL.Path})
			return
		}
		api.ServeHTTP(w, r)
	})
	route(mux, "GET /login", func(w http.ResponseWriter, _ *http.Request) { a.page(w, a.instanceName+" login") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if a.signedIn(w, r) {
			a.page(w, a.instanceName)
		}
	})
	if a.urlBase == "" {
		return anyCase(mux)
	}
	based := http.NewServeMux()
	base := strings.ToLower(a.urlBase)
	based.Handle(base+"/", http.StripPrefix(base, mux))
	based.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, a.urlBase+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	})
	return anyCase(based)
}

// arrDataDir reads the real servers' --data=DIR; their other flags mean nothing here.
func arrDataDir(args []string) string {
	for _, arg := range args {
		if dir, ok := strings.CutPrefix(strings.TrimLeft(arg, "-/"), "data="); ok {
			return dir
		}
	}
	return "/config"
}

func runArr(ctx context.Context, s standIn, kind arrKind, args []string) error {
	s.announce()
	a, err := newArr(s, kind, arrDataDir(args), os.Getenv)
	if err != nil {
		return err
	}
	return s.serve(ctx, a.bind+":"+strconv.Itoa(a.port), a.handler(), 5*time.Second)
}
