// Read-kind-config reads a kind configuration as kind does, with kind's own types, unknown fields refused,
// and prints it with kind's defaults filled in, as JSON. It starts nothing.
//
// Usage: read-kind-config FILE
package main

import (
	"bytes"
	"encoding/json"
	"log"
	"os"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: read-kind-config FILE")
	}
	content, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var cluster v1alpha4.Cluster
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&cluster); err != nil {
		log.Fatalf("%s: %v", os.Args[1], err)
	}
	if cluster.APIVersion != "kind.x-k8s.io/v1alpha4" || cluster.Kind != "Cluster" {
		log.Fatalf("%s: %s %s is not kind.x-k8s.io/v1alpha4 Cluster", os.Args[1], cluster.APIVersion, cluster.Kind)
	}
	v1alpha4.SetDefaultsCluster(&cluster)
	if err := json.NewEncoder(os.Stdout).Encode(cluster); err != nil {
		log.Fatal(err)
	}
}
