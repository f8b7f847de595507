package main

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const grafanaHashRounds = 100_000

// grafanaUser is the administrator as the database holds it after the first start.
type grafanaUser struct {
	Login  string `json:"login"`
	Salt   []byte `json:"salt"`
	Hash   []byte `json:"hash"`
	Rounds int    `json:"rounds"`
}

type grafanaDatasource struct {
	ID        int            `json:"id"`
	UID       string         `json:"uid"`
	OrgID     int            `json:"orgId"`
	Name      string         `json:"name"`
	Type      string         `json:"type"`
	Access    string         `json:"access"`
	URL       string         `json:"url"`
	IsDefault bool           `json:"isDefault"`
	ReadOnly  bool           `json:"readOnly"`
	JSONData  map[string]any `json:"jsonData"`
}

type grafanaDashboard struct {
	ID     int
	UID    string
	Title  string
	Folder string
	File   string
	JSON   map[string]any
}

type grafana struct {
	standIn
	user        grafanaUser
	subPath     string
	metrics     bool
	datasources []grafanaDatasource
	dashboards  []grafanaDashboard
}

// grafanaSettings reads GF_* and, as the image's start script does, GF_*__FILE; both at once is an error.
func grafanaSettings(environ []string) (map[string]string, error) {
	settings := map[string]string{}
	files := map[string]string{}
	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(key, "GF_") || value == "" {
			continue
		}
		if name, ok := strings.CutSuffix(key, "__FILE"); ok {
			files[name] = value
		} else {
			settings[key] = value
		}
	}
	for name, path := range files {
		if _, both := settings[name]; both {
			return nil, fmt.Errorf("both %s and %s__FILE are set (but are exclusive)", name, name)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%s__FILE: %w", name, err)
		}
		settings[name] = strings.TrimRight(string(content), "\n")
	}
	return settings, nil
}

// grafanaAdmin takes the administrator from the database, or makes it at the first start: a later
// change of the settings has no effect, as with the real server.
func grafanaAdmin(dataDir, login, password string) (grafanaUser, error) {
	path := filepath.Join(dataDir, "grafana.stand-in.json")
	var user grafanaUser
	err := readJSONFile(path, &user)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return user, err
	}
	user = grafanaUser{Login: login, Salt: make([]byte, 16), Rounds: grafanaHashRounds}
	if _, err := rand.Read(user.Salt); err != nil {
		return user, err
	}
	if user.Hash, err = pbkdf2.Key(sha256.New, password, user.Salt, user.Rounds, 32); err != nil {
		return user, err
	}
	log.Printf("grafana: first start: administrator made in %s", path)
	return user, writeJSONFile(path, user, 0o600)
}

func (u grafanaUser) matches(login, password string) bool {
	hash, err := pbkdf2.Key(sha256.New, password, u.Salt, u.Rounds, 32)
	return err == nil && subtle.ConstantTimeCompare(hash, u.Hash) == 1 &&
		subtle.ConstantTimeCompare([]byte(login), []byte(u.Login)) == 1
}

// readProvisioning reads a .yaml file which holds JSON (which is YAML): the stand-in has no YAML parser.
func readProvisioning(path string, value any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	if err := decoder.Decode(value); err != nil {
		return fmt.Errorf("%s: the stand-in reads provisioning files written as JSON only: %w", path, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one document", path)
	}
	return nil
}

func provisioningFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".yaml" || ext == ".yml" {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

func grafanaDatasources(dir string) ([]grafanaDatasource, error) {
	files, err := provisioningFiles(dir)
	if err != nil {
		return nil, err
	}
	var all []grafanaDatasource
	defaults := 0
	for _, path := range files {
		var file struct {
			APIVersion  int `json:"apiVersion"`
			Datasources []struct {
				grafanaDatasource
				Editable bool `json:"editable"`
			} `json:"datasources"`
		}
		if err := readProvisioning(path, &file); err != nil {
			return nil, err
		}
		if file.APIVersion != 1 {
			return nil, fmt.Errorf("%s: apiVersion is %d, not 1", path, file.APIVersion)
		}
		for _, entry := range file.Datasources {
			d := entry.grafanaDatasource
			if d.Name == "" || d.Type == "" || d.UID == "" {
				return nil, fmt.Errorf("%s: a data source needs name, type and uid", path)
			}
			if strings.Contains(d.URL+d.Name+d.UID, "$") {
				return nil, fmt.Errorf("%s: data source %q: the stand-in does not expand $ variables", path, d.Name)
			}
			if slices.ContainsFunc(all, func(o grafanaDatasource) bool { return o.UID == d.UID || o.Name == d.Name }) {
				return nil, fmt.Errorf("%s: data source %q is there twice", path, d.Name)
			}
			if d.IsDefault {
				defaults++
			}
			if d.Access == "" {
				d.Access = "proxy"
			}
			if d.JSONData == nil {
				d.JSONData = map[string]any{}
			}
			d.ID, d.OrgID, d.ReadOnly = len(all)+1, 1, !entry.Editable
			all = append(all, d)
		}
	}
	if defaults > 1 {
		return nil, fmt.Errorf("%s: only one data source can be marked as default", dir)
	}
	return all, nil
}

func grafanaDashboards(dir string) ([]grafanaDashboard, error) {
	files, err := provisioningFiles(dir)
	if err != nil {
		return nil, err
	}
	var all []grafanaDashboard
	for _, path := range files {
		var file struct {
			APIVersion int `json:"apiVersion"`
			Providers  []struct {
				Name    string `json:"name"`
				Type    string `json:"type"`
				Folder  string `json:"folder"`
				Options struct {
					Path                      string `json:"path"`
					FoldersFromFilesStructure bool   `json:"foldersFromFilesStructure"`
				} `json:"options"`
			} `json:"providers"`
		}
		if err := readProvisioning(path, &file); err != nil {
			return nil, err
		}
		if file.APIVersion != 1 {
			return nil, fmt.Errorf("%s: apiVersion is %d, not 1", path, file.APIVersion)
		}
		for _, p := range file.Providers {
			if p.Name == "" || (p.Type != "" && p.Type != "file") || p.Options.Path == "" {
				return nil, fmt.Errorf("%s: a dashboard provider needs name, type file and options.path", path)
			}
			err := filepath.WalkDir(p.Options.Path, func(file string, entry os.DirEntry, err error) error {
				if err != nil || entry.IsDir() || filepath.Ext(file) != ".json" {
					return err
				}
				d := grafanaDashboard{ID: len(all) + 1, Folder: p.Folder, File: file}
				if err := readJSONFile(file, &d.JSON); err != nil {
					return err
				}
				if relative, err := filepath.Rel(p.Options.Path, filepath.Dir(file)); err == nil &&
					p.Options.FoldersFromFilesStructure && relative != "." {
					d.Folder = relative
				}
				d.UID, _ = d.JSON["uid"].(string)
				d.Title, _ = d.JSON["title"].(string)
				if d.UID == "" || d.Title == "" {
					return fmt.Errorf("%s: a dashboard needs uid and title", file)
				}
				if slices.ContainsFunc(all, func(o grafanaDashboard) bool { return o.UID == d.UID }) {
					return fmt.Errorf("%s: dashboard uid %q is there twice", file, d.UID)
				}
				all = append(all, d)
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func newGrafana(s standIn, settings map[string]string) (*grafana, error) {
	get := func(key, fallback string) string {
		if v := settings[key]; v != "" {
			return v
		}
		return fallback
	}
	dataDir := get("GF_PATHS_DATA", "/var/lib/grafana")
	provisioning := get("GF_PATHS_PROVISIONING", "/etc/grafana/provisioning")
	if err := checkWritable(dataDir); err != nil {
		return nil, fmt.Errorf("GF_PATHS_DATA=%q is not writable: %w", dataDir, err)
	}
	root, err := url.Parse(get("GF_SERVER_ROOT_URL", "http://localhost:3000/"))
	if err != nil {
		return nil, fmt.Errorf("GF_SERVER_ROOT_URL: %w", err)
	}
	g := &grafana{standIn: s, subPath: strings.TrimRight(root.Path, "/"), metrics: get("GF_METRICS_ENABLED", "true") == "true"}
	if g.user, err = grafanaAdmin(dataDir, get("GF_SECURITY_ADMIN_USER", "admin"),
		get("GF_SECURITY_ADMIN_PASSWORD", "admin")); err != nil {
		return nil, err
	}
	if g.datasources, err = grafanaDatasources(filepath.Join(provisioning, "datasources")); err != nil {
		return nil, err
	}
	if g.dashboards, err = grafanaDashboards(filepath.Join(provisioning, "dashboards")); err != nil {
		return nil, err
	}
	log.Printf("grafana: provisioned %d data sources and %d dashboards", len(g.datasources), len(g.dashboards))
	return g, nil
}

func grafanaMessage(w http.ResponseWriter, code int, message string) {
	writeJSON(w, code, map[string]string{"message": message})
}

// signedIn lets only the administrator through.
func (g *grafana) signedIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		login, password, given := r.BasicAuth()
		switch {
		case !given:
			grafanaMessage(w, http.StatusUnauthorized, "Unauthorized")
		case !g.user.matches(login, password):
			grafanaMessage(w, http.StatusUnauthorized, "Invalid username or password")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (g *grafana) datasource(w http.ResponseWriter, r *http.Request) (grafanaDatasource, bool) {
	i := slices.IndexFunc(g.datasources, func(d grafanaDatasource) bool { return d.UID == r.PathValue("uid") })
	if i < 0 {
		grafanaMessage(w, http.StatusNotFound, "Data source not found")
		return grafanaDatasource{}, false
	}
	return g.datasources[i], true
}

// proxy forwards a query to the data source, without the caller's credentials.
func (g *grafana) proxy(w http.ResponseWriter, r *http.Request) {
	d, ok := g.datasource(w, r)
	if !ok {
		return
	}
	target, err := url.Parse(d.URL)
	if err != nil || target.Host == "" {
		grafanaMessage(w, http.StatusBadGateway, "data source has no usable url")
		return
	}
	proxy := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL.Path = "/" + r.PathValue("rest")
		p.Out.URL.RawPath = ""
		p.SetURL(target)
		p.Out.Header.Del("Authorization")
		p.Out.Header.Del("Cookie")
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
		log.Printf("grafana: data source %s: %v", d.UID, err)
		grafanaMessage(w, http.StatusBadGateway, "data source did not answer: "+err.Error())
	}}
	proxy.ServeHTTP(w, r)
}

// sourceHealth asks the data source something, as the real one's plugin does.
func (g *grafana) sourceHealth(w http.ResponseWriter, r *http.Request) {
	d, ok := g.datasource(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	if err := answers(ctx, d.URL+"/api/v1/query?query=1%2B1"); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"status": "ERROR", "message": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "OK", "message": "the data source answers queries"})
}

func answers(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the data source answered %s", response.Status)
	}
	return errors.Join(err, response.Body.Close())
}

func (d grafanaDashboard) path() string {
	slug := strings.Trim(strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '-'
	}, strings.ToLower(d.Title)), "-")
	return "/d/" + d.UID + "/" + slug
}

func (g *grafana) search(w http.ResponseWriter, r *http.Request) {
	found := []any{}
	for _, d := range g.dashboards {
		if q := r.URL.Query(); !strings.Contains(strings.ToLower(d.Title), strings.ToLower(q.Get("query"))) ||
			(q.Get("type") != "" && q.Get("type") != "dash-db") {
			continue
		}
		tags, ok := d.JSON["tags"].([]any)
		if !ok {
			tags = []any{}
		}
		found = append(found, map[string]any{"id": d.ID, "uid": d.UID, "orgId": 1, "title": d.Title, "uri": "db/" + d.UID,
			"url": g.subPath + d.path(), "type": "dash-db", "tags": tags, "isStarred": false, "folderTitle": d.Folder})
	}
	writeJSON(w, http.StatusOK, found)
}

func (g *grafana) dashboard(w http.ResponseWriter, r *http.Request) {
	for _, d := range g.dashboards {
		if d.UID == r.PathValue("uid") {
			writeJSON(w, http.StatusOK, map[string]any{"dashboard": d.JSON, "meta": map[string]any{
				"type": "db", "url": g.subPath + d.path(), "folderTitle": d.Folder, "provisioned": true,
				"provisionedExternalId": filepath.Base(d.File), "canSave": false, "canEdit": false, "canAdmin": false}})
			return
		}
	}
	grafanaMessage(w, http.StatusNotFound, "Dashboard not found")
}

func (g *grafana) handler() http.Handler {
	api := http.NewServeMux()
	api.HandleFunc("GET /api/org", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"id": 1, "name": "Main Org."})
	})
	api.HandleFunc("GET /api/datasources", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, append([]grafanaDatasource{}, g.datasources...))
	})
	api.HandleFunc("GET /api/datasources/uid/{uid}", func(w http.ResponseWriter, r *http.Request) {
		if d, ok := g.datasource(w, r); ok {
			writeJSON(w, http.StatusOK, d)
		}
	})
	api.HandleFunc("GET /api/datasources/uid/{uid}/health", g.sourceHealth)
	api.HandleFunc("GET /api/datasources/proxy/uid/{uid}/{rest...}", g.proxy)
	api.HandleFunc("POST /api/datasources/proxy/uid/{uid}/{rest...}", g.proxy)
	api.HandleFunc("GET /api/search", g.search)
	api.HandleFunc("GET /api/dashboards/uid/{uid}", g.dashboard)
	api.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		grafanaMessage(w, http.StatusNotFound, "Not found: the stand-in does not know "+r.URL.Path)
	})

	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"database": "ok", "version": g.version, "commit": "stand-in"})
	})
	mux.Handle("/api/", g.signedIn(api))
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) { g.page(w, "Grafana login") })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, g.subPath+"/login", http.StatusFound)
	})
	if g.metrics {
		mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			fmt.Fprintf(w, "# HELP nexus_stand_in 1: these are a stand-in's metrics.\n# TYPE nexus_stand_in gauge\n"+
				"nexus_stand_in{app=\"grafana\"} 1\n# TYPE grafana_build_info gauge\n"+
				"grafana_build_info{version=%q,edition=\"stand-in\"} 1\n# TYPE grafana_stat_totals_dashboard gauge\n"+
				"grafana_stat_totals_dashboard %d\n", g.version, len(g.dashboards))
		})
	} else {
		mux.HandleFunc("GET /metrics", http.NotFound)
	}
	return mux
}

func runGrafana(ctx context.Context, s standIn, _ []string) error {
	s.announce()
	settings, err := grafanaSettings(os.Environ())
	if err != nil {
		return err
	}
	port := settings["GF_SERVER_HTTP_PORT"]
	if port == "" {
		port = "3000"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return errors.New("GF_SERVER_HTTP_PORT: not a port number")
	}
	g, err := newGrafana(s, settings)
	if err != nil {
		return err
	}
	return s.serve(ctx, settings["GF_SERVER_HTTP_ADDR"]+":"+port, g.handler(), 5*time.Second)
}
