// Prints the labels that node feature discovery's own code takes from a folder of feature files, and why it gives others not: what its
// worker's source "local" reads, judged by the rules of its master. Run with the node's root folder as its root, because the source has
// the folder's path in it.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/node-feature-discovery/pkg/apis/nfd/validate"
	"sigs.k8s.io/node-feature-discovery/source"
	"sigs.k8s.io/node-feature-discovery/source/local"
)

func main() {
	if err := source.GetFeatureSource(local.Name).Discover(); err != nil {
		fail(err)
	}
	labels, err := source.GetLabelSource(local.Name).GetLabels()
	if err != nil {
		fail(err)
	}
	given, refused := map[string]string{}, map[string]string{}
	for key, value := range labels {
		value := fmt.Sprintf("%v", value)
		if err := validate.Label(key, value); err != nil {
			refused[key] = err.Error()
		} else {
			given[key] = value
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"given": given, "refused": refused}); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
