// Command cadvisor serves container metrics for Prometheus with the cAdvisor library.
//
// Upstream's own main lies in a module of its own; this one joins the same parts (manager, Docker and file
// system plugins, Prometheus collectors) for the flags that NEXUS sets. It has /healthz and /metrics, and
// neither web pages, REST API, storage drivers nor perf events.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/google/cadvisor/container/docker/install"
	"github.com/google/cadvisor/lib/cache/memory"
	"github.com/google/cadvisor/lib/container"
	_ "github.com/google/cadvisor/lib/container/systemd/install"
	_ "github.com/google/cadvisor/lib/fs/btrfs/install"
	_ "github.com/google/cadvisor/lib/fs/nfs/install"
	_ "github.com/google/cadvisor/lib/fs/overlay/install"
	_ "github.com/google/cadvisor/lib/fs/tmpfs/install"
	_ "github.com/google/cadvisor/lib/fs/vfs/install"
	"github.com/google/cadvisor/lib/manager"
	"github.com/google/cadvisor/lib/metrics"
	info "github.com/google/cadvisor/lib/model"
	"github.com/google/cadvisor/lib/utils/sysfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	requestTimeout  = 30 * time.Second
	shutdownTimeout = 5 * time.Second
)

type options struct {
	listenIP         string
	port             int
	endpoint         string
	storageDuration  time.Duration
	storeLabels      bool
	labelAllowList   string
	envAllowList     string
	rawCgroupPrefix  string
	disabled         container.MetricSet
	enabled          container.MetricSet
	printVersionOnly bool
}

func parseFlags() options {
	o := options{
		disabled: container.MetricSet{
			container.MemoryNumaMetrics:              struct{}{},
			container.NetworkTcpUsageMetrics:         struct{}{},
			container.NetworkUdpUsageMetrics:         struct{}{},
			container.NetworkAdvancedTcpUsageMetrics: struct{}{},
			container.ProcessSchedulerMetrics:        struct{}{},
			container.ProcessMetrics:                 struct{}{},
			container.HugetlbUsageMetrics:            struct{}{},
			container.ReferencedMemoryMetrics:        struct{}{},
			container.CPUTopologyMetrics:             struct{}{},
			container.ResctrlMetrics:                 struct{}{},
			container.CPUSetMetrics:                  struct{}{},
		},
		enabled: container.MetricSet{},
	}
	klog.InitFlags(nil)
	flag.StringVar(&o.listenIP, "listen_ip", "", "IP to listen on, all by default")
	flag.IntVar(&o.port, "port", 8080, "port to listen on")
	flag.StringVar(&o.endpoint, "prometheus_endpoint", "/metrics", "path of the Prometheus metrics")
	flag.DurationVar(&o.storageDuration, "storage_duration", 2*time.Minute, "how long samples are kept in memory")
	flag.BoolVar(&o.storeLabels, "store_container_labels", true, "turn container labels and variables into metric labels")
	flag.StringVar(&o.labelAllowList, "whitelisted_container_labels", "", "container labels to keep without -store_container_labels, comma separated")
	flag.StringVar(&o.envAllowList, "env_metadata_whitelist", "", "environment variables to keep, comma separated")
	flag.StringVar(&o.rawCgroupPrefix, "raw_cgroup_prefix_whitelist", "", "cgroup prefixes to keep with -docker_only, comma separated")
	flag.Var(&o.disabled, "disable_metrics", "metrics not to collect, comma separated")
	flag.Var(&o.enabled, "enable_metrics", "metrics to collect, comma separated; overrides -disable_metrics")
	flag.BoolVar(&o.printVersionOnly, "version", false, "print the library's version and exit")
	flag.Parse()
	return o
}

func main() {
	o := parseFlags()
	defer klog.Flush()
	if o.printVersionOnly {
		fmt.Println("cAdvisor library", libraryVersion())
		return
	}
	if err := run(o); err != nil {
		klog.Errorf("cadvisor: %v", err)
		klog.Flush()
		os.Exit(1)
	}
}

func run(o options) error {
	included := container.AllMetrics.Difference(o.disabled)
	if len(o.enabled) > 0 {
		included = o.enabled
	}
	// The raw factory reads the first element of its list unasked: an empty flag has to be a list of one empty text.
	m, err := manager.New(memory.New(o.storageDuration, nil), sysfs.NewRealSysFs(), manager.HousekeepingConfigFlags,
		included, strings.Split(o.rawCgroupPrefix, ","), strings.Split(o.envAllowList, ","), "", 0)
	if err != nil {
		return fmt.Errorf("create the manager: %w", err)
	}
	if err := m.Start(); err != nil {
		return fmt.Errorf("start the manager: %w", err)
	}

	listener, err := net.Listen("tcp", net.JoinHostPort(o.listenIP, strconv.Itoa(o.port)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: handler(o, m, included), ReadHeaderTimeout: requestTimeout}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		<-ctx.Done()
		limit, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		_ = server.Shutdown(limit)
	}()
	klog.Infof("cAdvisor library %s serves on port %d", libraryVersion(), o.port)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return m.Stop()
}

func handler(o options, m manager.Manager, included container.MetricSet) http.Handler {
	labels := metrics.ContainerLabelsFunc(metrics.DefaultContainerLabels)
	if !o.storeLabels {
		labels = metrics.BaseContainerLabels(strings.Split(o.labelAllowList, ","))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		metrics.NewPrometheusCollector(m, labels, included, clock.RealClock{},
			info.RequestOptions{IdType: info.TypeName, Count: 1, Recursive: true}),
		metrics.NewPrometheusMachineCollector(m, included),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.Handle(o.endpoint, promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return mux
}

func libraryVersion() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range build.Deps {
			if dep.Path == "github.com/google/cadvisor" {
				return dep.Version
			}
		}
	}
	return "unknown"
}
