// Prints a drop-in of the kubelet's configuration as the types of the kubelet's own API take it, strictly: an unknown key or another type is an error.
package main

import (
	"encoding/json"
	"os"

	"basalt/kubernetes/judged"
	"k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	var config v1beta1.KubeletConfiguration
	if err == nil {
		err = yaml.UnmarshalStrict(text, &config)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(config)
	}
	if err != nil {
		judged.Fail(err)
	}
}
