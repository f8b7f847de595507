// Command nexus-standin plays the servers which cannot be had where only package registries are
// reachable: it speaks what the platform uses of them and says in its log and in every answer that
// it is a stand-in. One static binary; argv[0] or the first argument chooses the part, and for a *arr server the file
// beside the program (arr.go).
//
// It is for the lab's images alone. The platform itself does not know of it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// standIn is one part that the binary can play.
type standIn struct {
	app     string   // name in log and header
	version string   // version whose behaviour is played
	names   []string // lower-case file names under which an image may start it
	run     func(ctx context.Context, s standIn, args []string) error
}

var standIns = []standIn{
	{"jellyfin", "10.11.11", []string{"jellyfin"}, runJellyfin},
	{"grafana", "13.2.3", []string{"grafana", "grafana-server", "run.sh"}, runGrafana},
	{"gluetun", "v3.41.1", []string{"gluetun", "gluetun-entrypoint"}, runGluetun},
	{"socket-proxy", "1.13.1", []string{"socket-proxy"}, runSocketProxy},
	// The socket proxy's image has its health check as a second program.
	{"socket-proxy", "1.13.1", []string{"healthcheck"}, runSocketProxyHealthcheck},
}

var errUsage = errors.New("usage: nexus-standin APP [ARGUMENT…], or start it under the app's name")

// choose finds the part to play and its arguments.
func choose(argv []string) (standIn, []string, error) {
	if s, found, err := chooseArr(argv[0]); found {
		return s, argv[1:], err
	}
	for i := range min(2, len(argv)) {
		name := strings.ToLower(filepath.Base(argv[i]))
		for _, s := range standIns {
			if slices.Contains(s.names, name) {
				return s, argv[i+1:], nil
			}
		}
	}
	return standIn{}, nil, errUsage
}

// versions prints app → version as JSON, so that a test can hold it against the images' pins.
func versions() error {
	all := map[string]string{}
	for _, s := range standIns {
		all[s.app] = s.version
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

func main() {
	log.SetOutput(os.Stdout)
	log.SetFlags(log.LstdFlags | log.LUTC | log.Lmsgprefix)
	if len(os.Args) == 2 && os.Args[1] == "versions" {
		if err := versions(); err != nil {
			log.Fatal(err)
		}
		return
	}
	s, args, err := choose(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	unwatch := context.AfterFunc(ctx, func() { log.Printf("%s: asked to end", s.app) })
	err = s.run(ctx, s, args)
	unwatch()
	if err != nil {
		log.Fatalf("%s: fatal: %v", s.app, err)
	}
}
