#!/bin/sh
# The pod of a Tekton step, nearly: run by tekton.test.ts under `unshare --mount --net`, it gives the build a root with
# /workspace and /tekton, a network of its own in which Docker Hub's names lead to a registry on loopback, and a login.
# Variables: ROOT HOSTS REGISTRY_CONFIG CA FIXTURE LOGIN BASE OUT STORE NODE CHECKOUT
set -eu
ip link set lo up

mount -t tmpfs tmpfs "$ROOT"
for entry in /*; do
  if [ -L "$entry" ]; then
    cp -P "$entry" "$ROOT$entry"
  elif [ -d "$entry" ] && [ "$entry" != /workspace ] && [ "$entry" != /tekton ]; then
    mkdir "$ROOT$entry"
    mount --rbind "$entry" "$ROOT$entry"
  fi
done
mount --bind "$HOSTS" "$ROOT/etc/hosts"
mkdir -p "$ROOT/workspace/repo" "$ROOT/tekton/home/.docker" "$ROOT/.old"
cp -R "$FIXTURE/." "$ROOT/workspace/repo/"
cp "$LOGIN/config.json" "$ROOT/tekton/home/.docker/config.json"
cd "$ROOT"
pivot_root . .old
umount -l /.old
rmdir /.old
cd /workspace/repo

docker-registry serve "$REGISTRY_CONFIG" >"$OUT/registry.log" 2>&1 &
registry=$!
trap 'kill "$registry"; wait "$registry" || true' EXIT
export SSL_CERT_FILE="$CA" DOCKER_CONFIG=/tekton/home/.docker
tries=0
until curl -s --cacert "$CA" https://index.docker.io/v2/ >/dev/null; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ]
  sleep 0.1
done
skopeo copy --quiet --authfile "$DOCKER_CONFIG/config.json" "oci:$BASE:latest" docker://docker.io/library/busybox:latest

status=0
TSBUILD_STORE="$STORE" "$NODE" "$CHECKOUT/bin/tsbuild.js" \
  --dockerfile=Dockerfile --context=/workspace/repo/src --destination=isno/tekton-test:latest \
  >"$OUT/stdout" 2>"$OUT/stderr" || status=$?
echo "$status" >"$OUT/status"
[ "$status" = 0 ] || exit 0

# Without the login nothing comes back; with it the image does.
if DOCKER_CONFIG=/nonexistent skopeo inspect --no-creds docker://docker.io/isno/tekton-test:latest >/dev/null 2>&1; then
  echo "the registry asks for no login" >&2
  exit 1
fi
skopeo copy --quiet --authfile "$DOCKER_CONFIG/config.json" docker://docker.io/isno/tekton-test:latest "oci:$OUT/pulled:latest"

# The same build with another password.
sed 's/"auth":"[^"]*"/"auth":"bm9ib2R5OndvbmctcGFzc3dvcmQ="/' "$DOCKER_CONFIG/config.json" >"$OUT/config.json"
mkdir "$OUT/wrong"
mv "$OUT/config.json" "$OUT/wrong/config.json"
status=0
DOCKER_CONFIG="$OUT/wrong" TSBUILD_STORE="$STORE-2" "$NODE" "$CHECKOUT/bin/tsbuild.js" \
  --dockerfile=Dockerfile --context=/workspace/repo/src --destination=isno/tekton-test:latest \
  >"$OUT/wrong-stdout" 2>"$OUT/wrong-stderr" || status=$?
echo "$status" >"$OUT/wrong-status"
