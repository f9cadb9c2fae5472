// Prints the labels that node feature discovery's own code takes from a folder of feature files, and why it gives others not: what its
// worker's source "local" reads, judged by the rules of its master. Run with the node's root folder as its root, because the source has
// the folder's path in it.
package main

import (
	"fmt"

	"basalt/kubernetes/judged"
	"sigs.k8s.io/node-feature-discovery/pkg/apis/nfd/validate"
	"sigs.k8s.io/node-feature-discovery/source"
	"sigs.k8s.io/node-feature-discovery/source/local"
)

func main() {
	if err := source.GetFeatureSource(local.Name).Discover(); err != nil {
		judged.Fail(err)
	}
	found, err := source.GetLabelSource(local.Name).GetLabels()
	if err != nil {
		judged.Fail(err)
	}
	labels := map[string]string{}
	for key, value := range found {
		labels[key] = fmt.Sprintf("%v", value)
	}
	judged.Print(labels, validate.Label)
}
