#!/bin/sh
# Overspill on kind, for people with Docker: create the cluster, build the images, load them, install the chart,
# apply the tiny CPU model. Run it again to bring a running cluster up to date; `kind delete cluster --name overspill`
# ends it. --dry-run only prints the commands.
set -eu
cd "$(dirname "$0")/../.."
name=overspill
dry_run=false
[ "${1:-}" = --dry-run ] && dry_run=true

run() {
  printf '+ %s\n' "$*"
  $dry_run || "$@"
}

if ! $dry_run; then
  for command in docker kind kubectl helm; do
    command -v "$command" >/dev/null || {
      echo "error: $command is not on the PATH, and a cluster on kind needs docker, kind, kubectl and helm: install it; or, without Docker: make cluster-up (root and Go)" >&2
      exit 1
    }
  done
  docker info >/dev/null 2>&1 || {
    echo "error: docker is installed but does not answer: start it, or give this user access to it; or, without Docker: make cluster-up (root and Go)" >&2
    exit 1
  }
fi

if ! $dry_run && kind get clusters 2>/dev/null | grep -qx "$name"; then
  echo "cluster $name is there"
else
  run kind create cluster --name "$name" --config kind-config.yaml --wait 120s
fi

build() { run docker build -f "$2" -t "localhost/$1:dev" .; }
build overspill-operator operator/Dockerfile
build overspill-gateway inference/Dockerfile
build overspill-engine-cpu inference/engine/Dockerfile.cpu
build overspill-standin tests/standin/Dockerfile
for image in overspill-operator overspill-gateway overspill-engine-cpu overspill-standin; do
  run kind load docker-image "localhost/$image:dev" --name "$name"
done

context="kind-$name"
run helm upgrade --install overspill charts/overspill --kube-context "$context" \
  --namespace overspill-system --create-namespace --values charts/overspill/values-local.yaml --wait --timeout 180s
# The sample's hosted API is a stand-in, so that it answers without an account anywhere.
namespace='{apiVersion: v1, kind: Namespace, metadata: {name: demo}}'
printf '+ kubectl apply: %s\n' "$namespace"
$dry_run || printf '%s' "$namespace" | kubectl --context "$context" apply -f -
run kubectl --context "$context" apply -n demo -f tests/e2e/standin.yaml -f manifests/samples/cpu-tiny.yaml
echo "The gateway answers at http://127.0.0.1:8080. \`kind delete cluster --name $name\` ends all of it."
