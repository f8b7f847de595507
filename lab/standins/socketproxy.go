package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Both programs of the real image have this address built in.
const socketProxyHealthAddress = "127.0.0.1:55555"

var socketProxyMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "OPTIONS"}

type socketProxyConfig struct {
	listen      string
	socket      string
	logLevel    string
	grace       time.Duration
	healthcheck bool
	allowFrom   []string
	allowed     map[string][]*regexp.Regexp
}

// parseSocketProxy reads flags and SP_* variables; a flag wins over its variable.
func parseSocketProxy(args, environ []string) (socketProxyConfig, error) {
	env := map[string]string{}
	fromEnv := map[string][]string{}
	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		if value == "" {
			continue
		}
		env[key] = value
		if rest, ok := strings.CutPrefix(key, "SP_ALLOW_"); ok { // SP_ALLOW_GET, SP_ALLOW_GET_0, …
			method, _, _ := strings.Cut(rest, "_")
			fromEnv[method] = append(fromEnv[method], value)
		}
	}
	var config socketProxyConfig
	var listenIP, allowFrom string
	var port, grace uint
	flags := flag.NewFlagSet("socket-proxy", flag.ContinueOnError)
	// A default from the environment passes the flag's own parser, so a bad one is an error too.
	defaults := map[string]string{}
	set := func(name string) { defaults[name] = env["SP_"+strings.ToUpper(name)] }
	flags.StringVar(&listenIP, "listenip", "127.0.0.1", "IP address to listen on")
	flags.UintVar(&port, "proxyport", 2375, "TCP port to listen on")
	flags.StringVar(&allowFrom, "allowfrom", "127.0.0.1/32", "networks and host names that may connect")
	flags.StringVar(&config.socket, "socketpath", "/var/run/docker.sock", "socket to forward to")
	flags.StringVar(&config.logLevel, "loglevel", "INFO", "DEBUG, INFO, WARN or ERROR")
	flags.UintVar(&grace, "shutdowngracetime", 10, "seconds that running requests have to end")
	flags.BoolVar(&config.healthcheck, "allowhealthcheck", false, "answer on "+socketProxyHealthAddress)
	flags.VisitAll(func(f *flag.Flag) { set(f.Name) })
	fromFlags := map[string][]string{}
	for _, method := range socketProxyMethods {
		flags.Func("allow"+method, "regular expression of allowed paths; may be repeated", func(value string) error {
			fromFlags[method] = append(fromFlags[method], value)
			return nil
		})
	}
	for name, value := range defaults {
		if value != "" {
			if err := flags.Set(name, value); err != nil {
				return config, fmt.Errorf("SP_%s: %w", strings.ToUpper(name), err)
			}
		}
	}
	if err := flags.Parse(args); err != nil {
		return config, err
	}
	if flags.NArg() > 0 {
		return config, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if _, err := netip.ParseAddr(listenIP); err != nil {
		return config, fmt.Errorf("listenip: %w", err)
	}
	if port < 1 || port > 65535 {
		return config, fmt.Errorf("proxyport: %d is not a port number", port)
	}
	config.logLevel = strings.ToUpper(config.logLevel)
	if !slices.Contains([]string{"DEBUG", "INFO", "WARN", "ERROR"}, config.logLevel) {
		return config, fmt.Errorf("loglevel: %q is none of DEBUG, INFO, WARN, ERROR", config.logLevel)
	}
	config.listen = net.JoinHostPort(listenIP, strconv.Itoa(int(port)))
	config.grace = time.Duration(grace) * time.Second
	config.allowFrom = strings.Split(allowFrom, ",")
	config.allowed = map[string][]*regexp.Regexp{}
	for _, method := range socketProxyMethods {
		patterns := fromFlags[method]
		if len(patterns) == 0 {
			patterns = fromEnv[method]
		}
		for _, pattern := range patterns {
			if pattern == "" {
				continue
			}
			// Without a group, as the real one does it (1.13.1): a bare alternation is NOT anchored
			// as a whole, and a configuration that forgets its group must be seen to let too much in.
			compiled, err := regexp.Compile("^" + pattern + "$")
			if err != nil {
				return config, fmt.Errorf("allow%s: %w", method, err)
			}
			config.allowed[method] = append(config.allowed[method], compiled)
		}
	}
	return config, nil
}

func (c socketProxyConfig) allowsClient(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	addr = addr.Unmap()
	for _, entry := range c.allowFrom {
		if prefix, err := netip.ParsePrefix(entry); err == nil {
			if prefix.Contains(addr) {
				return true
			}
			continue
		}
		names, err := net.LookupHost(entry)
		if err != nil {
			log.Printf("socket-proxy: allowfrom %q: %v", entry, err)
		}
		if slices.Contains(names, addr.String()) {
			return true
		}
	}
	return false
}

func (c socketProxyConfig) handler() http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "localhost"})
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	}}
	refuse := func(w http.ResponseWriter, r *http.Request, code int, reason string) {
		if c.logLevel != "ERROR" {
			log.Printf("socket-proxy: refused: %s: %s %q from %s", reason, r.Method, r.URL.Path, r.RemoteAddr)
		}
		http.Error(w, http.StatusText(code), code)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rules, known := c.allowed[r.Method]
		switch {
		case !c.allowsClient(r.RemoteAddr):
			refuse(w, r, http.StatusForbidden, "address not allowed")
		case !known:
			refuse(w, r, http.StatusMethodNotAllowed, "method not allowed")
		case !slices.ContainsFunc(rules, func(rule *regexp.Regexp) bool { return rule.MatchString(r.URL.Path) }):
			refuse(w, r, http.StatusForbidden, "path not allowed")
		default:
			if c.logLevel == "DEBUG" {
				log.Printf("socket-proxy: allowed: %s %q from %s", r.Method, r.URL.Path, r.RemoteAddr)
			}
			proxy.ServeHTTP(w, r)
		}
	})
}

func (c socketProxyConfig) checkSocket() error {
	connection, err := net.DialTimeout("unix", c.socket, 5*time.Second)
	if err != nil {
		return err
	}
	return connection.Close()
}

func (c socketProxyConfig) healthHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/health":
			w.WriteHeader(http.StatusNotFound)
		case r.Method != http.MethodHead:
			w.WriteHeader(http.StatusMethodNotAllowed)
		default:
			if err := c.checkSocket(); err != nil {
				log.Printf("socket-proxy: health: %v", err)
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	})
}

func runSocketProxy(ctx context.Context, s standIn, args []string) error {
	config, err := parseSocketProxy(args, os.Environ())
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	s.announce()
	for method, rules := range config.allowed {
		log.Printf("socket-proxy: allowed: %s %v", method, rules)
	}
	if err := config.checkSocket(); err != nil {
		return fmt.Errorf("socket not available: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if config.healthcheck {
		go func() {
			if err := s.serve(ctx, socketProxyHealthAddress, config.healthHandler(), time.Second); err != nil &&
				!errors.Is(err, http.ErrServerClosed) {
				log.Printf("socket-proxy: health server: %v", err)
			}
		}()
	}
	return s.serve(ctx, config.listen, config.handler(), config.grace)
}

func runSocketProxyHealthcheck(ctx context.Context, _ standIn, _ []string) error {
	return askHealth(ctx, http.MethodHead, "http://"+socketProxyHealthAddress+"/health")
}

// askHealth is nil where the address answers 200.
func askHealth(ctx context.Context, method, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	reason, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(reason)))
	}
	return nil
}
