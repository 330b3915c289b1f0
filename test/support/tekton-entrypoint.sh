#!/tekton/bin/busybox sh
# A stand-in for Tekton's entrypoint: the first process of a step's container. It waits for the step before, copies the
# logins that Tekton made to HOME, runs the step's command in a process group of its own, passes signals on to all of that
# group, and afterwards tells the controller (the termination file) and the next step (the post file) how it went.
set -u
PATH=/tekton/bin
note() { echo "entrypoint: $*" >&2; }

wait_file='' post_file='' termination=/dev/null program='' results='' metadata=''
while [ $# -gt 0 ]; do
  case $1 in
    -wait_file) wait_file=$2 && shift 2 ;;
    -wait_file_content) shift ;;
    -post_file) post_file=$2 && shift 2 ;;
    -termination_path) termination=$2 && shift 2 ;;
    -step_metadata_dir) metadata=$2 && busybox mkdir -p "$2" && shift 2 ;;
    -stdout_path) exec >"$2" 2>&1 && shift 2 ;;
    -results) results=$2 && shift 2 ;;
    -entrypoint) program=$2 && shift 2 ;;
    --) shift && break ;;
    *) note "unknown flag $1" && exit 64 ;;
  esac
done

while [ -n "$wait_file" ] && [ ! -e "$wait_file" ]; do
  if [ -e "$wait_file.err" ]; then
    note "the step before failed"
    echo >"$post_file.err"
    exit 1
  fi
  busybox usleep 50000
done

if [ -d /tekton/creds ]; then
  for name in .docker .gitconfig .git-credentials .ssh; do
    if [ -e "/tekton/creds/$name" ]; then busybox cp -R "/tekton/creds/$name" "$HOME/" || note "no $HOME/$name"; fi
  done
fi

export PATH="$STEP_PATH"
unset STEP_PATH
/tekton/bin/busybox setsid "$program" "$@" &
child=$!
trap '/tekton/bin/busybox kill -TERM "-$child"' TERM INT
code=0
wait "$child" || code=$?

PATH=/tekton/bin
message=''
for name in $(echo "$results" | busybox tr , ' '); do
  if [ -e "/tekton/results/$name" ]; then
    value=$(busybox sed -e 's/["\\]/\\&/g' -e ':a;N;$!ba;s/\n/\\n/g' "/tekton/results/$name")
    message="$message${message:+,}{\"key\":\"$name\",\"value\":\"$value\",\"type\":1}"
  fi
done
printf '[%s]' "$message" >"$termination"
if [ -n "$metadata" ]; then echo "$code" >"$metadata/exitCode"; fi
if [ "$code" = 0 ]; then echo >"$post_file"; else echo >"$post_file.err"; fi
exit "$code"
