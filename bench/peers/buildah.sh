# buildah.sh STORAGE DESTINATION FLAG... CONTEXT: builds and pushes, all in one storage.
set -eu
storage=$1 destination=$2
shift 2
buildah_in() { buildah --root "$storage/root" --runroot "$storage/run" --storage-driver overlay "$@"; }
buildah_in build --tls-verify=false -t "$destination" "$@"
buildah_in push --tls-verify=false "$destination"
