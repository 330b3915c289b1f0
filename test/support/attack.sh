# What a hostile step tries: its argument is a function's name. Says "ATTACK name: got" when it had success, and nothing of what
# it got. Every marker is the content of something that no step was given.
others() { # the builder's processes; proot is there for this step alone
  for dir in /proc/[0-9]*; do
    case $(tr '\0' ' ' <"$dir/cmdline" 2>/dev/null) in
      *proot*) ;;
      *executor*|*child.cjs*|*tsbuild*) echo "${dir#/proc/}" ;;
    esac
  done
}
holds() { grep -q -a "$1" "$2" 2>/dev/null; }
got() { echo "ATTACK $1: got"; }

login() { holds marker-login /kaniko/.docker/config.json && got login; }
token() {
  for run in /var/run /run; do
    holds marker-token "$run/secrets/kubernetes.io/serviceaccount/token" && got token && return
  done
}
environment() { for pid in $(others); do holds marker-environment "/proc/$pid/environ" && got environment && return; done; }
files() { # through another process's view of the files
  for pid in $(others); do holds marker-login "/proc/$pid/root/kaniko/.docker/config.json" && got files && return; done
}
descriptors() { # their numbers are for everybody of the same user to see, what they are is not
  for pid in $(others); do [ -n "$(readlink "/proc/$pid/fd/0" 2>/dev/null)" ] && got descriptors && return; done
}
memory() { # opening it takes the same right as ptrace(2)
  for pid in $(others); do
    at=$(sed -n '1s/-.*//p' "/proc/$pid/maps" 2>/dev/null)
    [ -n "$at" ] || continue
    dd if="/proc/$pid/mem" bs=4096 count=1 skip=$((0x$at / 4096)) 2>/dev/null | grep -q . && got memory && return
  done
}
signal() { for pid in $(others); do kill -0 "$pid" 2>/dev/null && got signal && return; done; }
builder() { # the program itself
  for file in /kaniko/tsbuild/dist/child.cjs /kaniko/executor; do [ -w "$file" ] && got builder && return; done
}
store() { # blobs that later stages, and later builds, are made of
  for dir in $(find / -xdev -type d -path '*/blobs/sha256' 2>/dev/null) /workspace/store/blobs/sha256; do
    [ -d "$dir" ] && [ -w "$dir" ] && got store && return
  done
}
cache() { find / -name marker-cache-file 2>/dev/null | grep -q . && got cache; }
stay() { (setsid sleep 98765 </dev/null >/dev/null 2>&1 &) ; }
stayed() { for dir in /proc/[0-9]*; do grep -q -a 98765 "$dir/cmdline" 2>/dev/null && got daemon && return; done; }
secret() { # of a step that runs at this time, and of one that has run; $1 is how often to look
  i=0
  while [ $i -lt "$1" ]; do
    for file in /run/secrets/other /proc/[0-9]*/root/run/secrets/other; do holds marker-secret "$file" && got secret && return; done
    sleep 0.3
    i=$((i + 1))
  done
}
links() { # out of the root
  holds marker-login "../../../../../../../../kaniko/.docker/config.json" && got links && return
  ln -s /kaniko/.docker/config.json /attack-link && holds marker-login /attack-link && got links && return
  ln /kaniko/.docker/config.json /attack-hard 2>/dev/null && holds marker-login /attack-hard && got links && return
  for magic in self/root 1/root 1/cwd self/fd/3 thread-self/root; do
    holds marker-login "/proc/$magic/kaniko/.docker/config.json" && got links && return
  done
}
"$@"
