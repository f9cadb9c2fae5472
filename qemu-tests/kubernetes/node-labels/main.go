// Prints the labels with which a kubelet would register that is begun with these arguments, as its flag `--node-labels` is read by its own code, and
// with which it would not begin, and why: its own lists of what a kubelet may say of itself, and Kubernetes' rules for labels. Which keys are Kubernetes' own stands
// in `isKubernetesLabel` of cmd/kubelet/app/options, which is not imported: all of the kubelet comes with it.
package main

import (
	"errors"
	"os"
	"strings"

	"basalt/kubernetes/judged"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/component-base/cli/flag"
	"k8s.io/kubelet/pkg/apis"
)

func main() {
	labels := flag.ConfigurationMap{}
	flags := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	flags.Var(&labels, "node-labels", "")
	if err := flags.Parse(os.Args[1:]); err != nil {
		judged.Fail(err)
	}
	judged.Print(labels, refuses)
}

func refuses(key, value string) error {
	domain, _, found := strings.Cut(key, "/")
	top := "." + domain
	theirs := found && (strings.HasSuffix(top, ".kubernetes.io") || strings.HasSuffix(top, ".k8s.io"))
	wrong := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...)
	if theirs && !apis.IsKubeletLabel(key) {
		wrong = append(wrong, "unknown label of Kubernetes")
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}
