// Command network-policies keeps the pods of one node to the NetworkPolicy objects.
//
// The controller of kube-network-policies, which kind runs as well, judges the first packet of each connection. The
// rules by which it has the kernel ask it need nftables' queue, which small kernels are built without, and know nothing
// of connections to the node itself, where the API server is: those rules are made here, with iptables.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

const (
	judgedQueue  = 100
	waitingQueue = 101
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	node := flag.String("node", "", "name of this node")
	addresses := flag.String("pods", "", "addresses of pods, e.g. 10.244.0.0/16")
	flag.Parse()
	if err := run(*kubeconfig, *node, *addresses); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run ends only when something fails.
func run(kubeconfig, node, addresses string) error {
	access, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return err
	}
	if err := handOver(addresses); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods()
	controller, err := networkpolicy.NewController(
		client, factory.Networking().V1().NetworkPolicies(), factory.Core().V1().Namespaces(), pods,
		nil, nil, nil, nil,
		networkpolicy.Config{QueueID: judgedQueue, NodeName: node, FailOpen: true})
	if err != nil {
		return err
	}
	forever := context.Background()
	factory.Start(forever.Done())
	factory.WaitForCacheSync(forever.Done())
	if err := openWaitingRoom(forever, pods.Informer().GetIndexer()); err != nil {
		return err
	}
	return controller.Run(forever)
}

// handOver has the kernel ask about every new connection that a pod makes, while there is somebody to ask.
//
// To other pods it passes FORWARD, to the node INPUT, with the service's address replaced already. What the node itself
// begins is never asked about: Kubernetes has nodes reach their pods.
func handOver(addresses string) error {
	for _, chain := range []string{"FORWARD", "INPUT"} {
		// The kernel goes through mangle before security.
		for table, queue := range map[string]int{"mangle": waitingQueue, "security": judgedQueue} {
			rule := []string{chain, "--source", addresses, "--match", "conntrack", "--ctstate", "NEW",
				"--jump", "NFQUEUE", "--queue-num", strconv.Itoa(queue), "--queue-bypass"}
			// One that was killed has left its rules.
			if iptables(table, "--check", rule) == nil {
				continue
			}
			if err := iptables(table, "--append", rule); err != nil {
				return err
			}
		}
	}
	return nil
}

func iptables(table, verb string, rule []string) error {
	arguments := append([]string{"--wait", "--table", table, verb}, rule...)
	if said, err := exec.Command("iptables", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("iptables %v: %w: %s", arguments, err, said)
	}
	return nil
}
