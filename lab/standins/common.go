package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const standInHeader = "X-Nexus-Stand-In"

// announce writes the line by which every log of a stand-in begins.
func (s standIn) announce() {
	log.Printf("STAND-IN for %s: not the real server (plays version %s)", s.app, s.version)
}

// mark puts the stand-in's name on every answer.
func (s standIn) mark(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(standInHeader, s.app)
		next.ServeHTTP(w, r)
	})
}

// serve answers on addr until ctx ends, then lets running requests finish within grace.
func (s standIn) serve(ctx context.Context, addr string, handler http.Handler, grace time.Duration) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", addr, err)
	}
	log.Printf("%s: listening on %s", s.app, listener.Addr())
	server := &http.Server{Handler: s.mark(handler), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return server.Close()
}

// anyCase hands paths on in lower case: to ASP.NET's routing they are all the same.
func anyCase(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lower := new(http.Request)
		*lower = *r
		url := *r.URL
		url.Path, url.RawPath = strings.ToLower(url.Path), ""
		lower.URL = &url
		next.ServeHTTP(w, lower)
	})
}

// route takes a path as ASP.NET's routing does: with or without a slash at its end.
func route(mux *http.ServeMux, pattern string, handler http.HandlerFunc) {
	mux.HandleFunc(pattern, handler)
	mux.HandleFunc(pattern+"/{$}", handler)
}

// page answers with the one page a stand-in has, in place of the real user interface.
func (s standIn) page(w http.ResponseWriter, title string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	t := html.EscapeString(title)
	fmt.Fprintf(w, "<!doctype html>\n<title>%s (stand-in)</title>\n<h1>%s</h1>\n<p>STAND-IN for %s: not the real server.</p>\n",
		t, t, html.EscapeString(s.app))
}

func writeJSON(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Printf("answer not sent: %v", err)
	}
}

// envOr is the variable's value, or fallback where it is unset or empty.
func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// checkWritable makes and removes a file in dir, the one check that also sees a read-only mount.
func checkWritable(dir string) error {
	f, err := os.CreateTemp(dir, ".stand-in-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// writeFile replaces path in one step, so that a kill leaves the old or the new content.
func writeFile(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".stand-in-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func writeJSONFile(path string, value any, mode os.FileMode) error {
	content, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(content, '\n'), mode)
}

func readJSONFile(path string, value any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
