# shellcheck shell=bash
# Sourced with root=DIR: take FILE [NAME] copies a program of this Debian to DIR/bin, and to DIR/lib the libraries that
# it needs and that the directory $present, when set, does not have. The program then names our loader; it needs no rpath,
# and patchelf 0.18 breaks Node when it adds one.
loader=$(patchelf --print-interpreter /bin/true)

take() {
  local target library
  target=$root/bin/${2:-$(basename "$1")}
  install -m 755 "$1" "$target"
  for library in $(ldd "$1" | awk '$2 == "=>" { print $3 }'); do
    if [ ! -e "${present:-$root/lib}/$(basename "$library")" ]; then
      install -m 644 "$(realpath "$library")" "$root/lib/$(basename "$library")"
    fi
  done
  patchelf --set-interpreter "/kaniko/lib/$(basename "$loader")" "$target"
}
