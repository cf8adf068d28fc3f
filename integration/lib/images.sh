# shellcheck shell=bash
# The images of the tests, made in the world without any registry. Names carry "localhost/" so that no engine looks for them
# elsewhere.

images=/tmp/images # and $here is the directory of these tests

linux_image=localhost/linux:1     # busybox
wasm_image=localhost/wasm:1       # one file, /hello.wasm
modules_image=localhost/modules:1 # all modules of integration/wasm, and two broken ones

make_images() {
  local applet module
  mkdir -p "$images"/linux/{bin,dev,etc,proc,sys,tmp,www} "$images"/{wasm,modules,wasi}
  chmod 1777 "$images/linux/tmp"
  cp /bin/busybox "$images/linux/bin/busybox"
  while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$images/linux/bin/$applet"
  done < <(/bin/busybox --list)
  printf 'root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/:/bin/sh\n' >"$images/linux/etc/passwd"
  printf 'root:x:0:\nworker:x:1000:\n' >"$images/linux/etc/group"
  echo 'not a program' >"$images/linux/etc/plain"
  echo 'served by linux' >"$images/linux/www/index.html"

  for module in "$here"/wasm/*.wat; do
    wat2wasm "$module" -o "$images/modules/$(basename "$module" .wat).wasm"
  done
  head -c 60 "$images/modules/ticker.wasm" >"$images/modules/truncated.wasm"
  cp "$images/modules/hello.wasm" "$images/wasm/hello.wasm"
  chmod 755 "$images"/{wasm,modules}/*.wasm

  "$here/lib/image.py" "$images/linux.tar" "$linux_image" "$images/linux" sh
  "$here/lib/image.py" "$images/wasm.tar" "$wasm_image" "$images/wasm" /hello.wasm
  "$here/lib/image.py" "$images/modules.tar" "$modules_image" "$images/modules" /ticker.wasm
}
