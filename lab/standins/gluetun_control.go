package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"log"
	"net/http"
	"slices"
)

// Routes which the real one (3.41.1) leaves open to everybody where no role is set.
var gluetunPublicRoutes = []string{"GET /v1/version", "GET /v1/vpn/status", "PUT /v1/vpn/status", "GET /v1/publicip/ip", "GET /v1/portforward"}

func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// allows says whether the role's credentials are in the request.
func (role *gluetunRole) allows(w http.ResponseWriter, r *http.Request) bool {
	switch role.Auth {
	case "none":
		return true
	case "apikey":
		key := r.Header.Get("X-API-Key")
		if key == "" {
			key = r.URL.Query().Get("api_key")
		}
		return sameSecret(key, role.APIKey)
	}
	user, password, _ := r.BasicAuth()
	if sameSecret(user, role.Username) && sameSecret(password, role.Password) {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="restricted", charset="UTF-8"`)
	return false
}

// controlHandler is the control server on port 8000.
// ctx is the server's, and not a request's: who goes away does not end a change.
func (v *vpn) controlHandler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": v.version, "commit": "stand-in", "created": "stand-in"})
	})
	mux.HandleFunc("GET /v1/vpn/status", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": v.getStatus()})
	})
	mux.HandleFunc("PUT /v1/vpn/status", func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Status string `json:"status"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if asked.Status != statusRunning && asked.Status != statusStopped {
			http.Error(w, "invalid status: possible values are: stopped, running", http.StatusBadRequest)
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"outcome": v.apply(ctx, asked.Status)})
	})
	mux.HandleFunc("GET /v1/vpn/settings", func(w http.ResponseWriter, _ *http.Request) {
		// The real one gives the keys out here too; nothing needs them.
		writeJSON(w, http.StatusOK, map[string]any{"type": v.settings.kind(), "provider": map[string]any{"name": v.settings.provider},
			"wireguard": map[string]any{"addresses": v.settings.addresses, "allowed_ips": v.settings.allowedIPs,
				"interface": v.settings.iface, "persistent_keep_alive_interval": v.settings.keepalive,
				"mtu": v.settings.mtu, "implementation": v.settings.implementation}})
	})
	mux.HandleFunc("GET /v1/publicip/ip", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"public_ip": ""}) // as with PUBLICIP_ENABLED=off
	})
	mux.HandleFunc("GET /v1/portforward", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]int{"port": 0})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route := r.Method + " " + r.URL.Path
		_, known := mux.Handler(r)
		allowed := known != ""
		if role := v.settings.role; role != nil {
			allowed = allowed && role.allows(w, r)
		} else {
			allowed = allowed && slices.Contains(gluetunPublicRoutes, route)
		}
		if !allowed {
			log.Printf("gluetun: control: refused: %s %q from %s", r.Method, r.URL.Path, r.RemoteAddr)
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
			return
		}
		log.Printf("gluetun: control: %s %q from %s", r.Method, r.URL.Path, r.RemoteAddr)
		mux.ServeHTTP(w, r)
	})
}
