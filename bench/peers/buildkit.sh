# buildkit.sh STATE REGISTRY ARGUMENT...: starts a buildkitd that keeps its state in STATE, runs buildctl with the arguments,
# and stops the daemon.
set -eu
state=$1 registry=$2
shift 2
mkdir -p "$state"
socket="unix://$state/socket"
cat >"$state/buildkitd.toml" <<END
root = "$state/root"
[grpc]
  address = ["$socket"]
[worker.oci]
  networkMode = "host"
[registry."$registry"]
  http = true
END
buildkitd --config "$state/buildkitd.toml" --containerd-worker=false --oci-worker-binary=runc &
daemon=$!
trap 'kill $daemon 2>/dev/null; wait $daemon 2>/dev/null || :' EXIT
tries=0
until buildctl --addr "$socket" debug workers >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 200 ] || exit 69
  sleep 0.05
done
buildctl --addr "$socket" "$@"
