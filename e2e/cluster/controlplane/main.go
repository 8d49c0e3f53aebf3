// SPDX-License-Identifier: Apache-2.0

// Command controlplane is a Kubernetes control plane in one binary: its first
// argument picks etcd, kube-apiserver, kube-controller-manager or
// kube-scheduler, and the rest is that component's own command line.
//
// These are the real components, compiled from their published modules, so
// that a machine without a container engine has real API servers to test with.
// One binary and not four, because the four share most of their code.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // Time zones of CronJobs, on machines without tzdata.

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// components maps a component's name to what makes its command. etcd is not
// here: it does not use cobra for its server and never returns.
var components = map[string]func() *cobra.Command{
	"kube-apiserver": apiserver.NewAPIServerCommand,
	"kube-controller-manager": func() *cobra.Command {
		return controllermanager.NewControllerManagerCommand()
	},
	"kube-scheduler": func() *cobra.Command {
		return scheduler.NewSchedulerCommand()
	},
}

func main() {
	if len(os.Args) < 2 {
		usage("no component named")
	}
	name := os.Args[1]
	// Each component reads os.Args itself, at the latest for its log line.
	os.Args = append([]string{name}, os.Args[2:]...)
	if name == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	command, ok := components[name]
	if !ok {
		usage(fmt.Sprintf("unknown component %q", name))
	}
	os.Exit(cli.Run(command()))
}

func usage(problem string) {
	fmt.Fprintf(os.Stderr, "controlplane: %s\nusage: %s etcd|kube-apiserver|"+
		"kube-controller-manager|kube-scheduler [FLAG]...\n",
		problem, filepath.Base(os.Args[0]))
	os.Exit(2)
}
