# kaniko.sh EXECUTOR ROOT CONTEXT DOCKERFILE FLAG...: runs Kaniko's executor with ROOT, made anew, as "/". It is called in
# mount and pid namespaces of its own, and ends before the executor wherever "/" would not be ROOT.
set -eu
executor=$1 root=$2 context=$3 dockerfile=$4
shift 4
rm -rf "$root"
mkdir -p "$root"
mount --bind "$root" "$root"
cd "$root"
mkdir -p kaniko proc dev sys etc tmp workspace .old
cp "$executor" kaniko/executor
cp "$(command -v busybox)" kaniko/busybox
cp "$dockerfile" kaniko/Dockerfile
: >kaniko/this-root
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs tmpfs dev -o mode=755
device() { mknod -m 666 "dev/$1" c "$2" "$3"; }
device null 1 3
device zero 1 5
device full 1 7
device random 1 8
device urandom 1 9
echo '127.0.0.1 localhost' >etc/hosts
mount --bind "$context" workspace
pivot_root . .old
cd /
/kaniko/busybox umount -l /.old
/kaniko/busybox rmdir /.old
[ -e /kaniko/this-root ] && ! [ -e /home ] || exit 70
exec /kaniko/busybox env -i PATH=/kaniko HOME=/root DOCKER_CONFIG=/kaniko/.docker /kaniko/executor "$@"
