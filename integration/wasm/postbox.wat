;; Waits for the file /box/question, then writes "wasm answers: " and what it read into /box/answer, and waits for ever.
(module
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 256) "box/question")
  (data (i32.const 288) "box/answer")
  (data (i32.const 320) "wasm answers: ")
  ;; opens a path below descriptor 3, the root directory; the rights of preview 1: read 2, write 64
  (func $open (param $path i32) (param $length i32) (param $how i32) (param $rights i64) (result i32)
    (call $path_open (i32.const 3) (i32.const 0) (local.get $path) (local.get $length)
      (local.get $how) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 200)))
  (func $wait
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (i64.const 50000000))
    (drop (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 204))))
  (func (export "_start")
    ;; buffers: the words, then what was read
    (i32.store (i32.const 0) (i32.const 320))
    (i32.store (i32.const 4) (i32.const 14))
    (i32.store (i32.const 8) (i32.const 1024))
    (i32.store (i32.const 12) (i32.const 1024))
    (loop $asked
      (call $wait)
      (br_if $asked (call $open (i32.const 256) (i32.const 12) (i32.const 0) (i64.const 2)))
      (drop (call $fd_read (i32.load (i32.const 200)) (i32.const 8) (i32.const 1) (i32.const 12)))
      (drop (call $fd_close (i32.load (i32.const 200))))
      (br_if $asked (i32.eqz (i32.load (i32.const 12))))) ;; made, but not written yet
    (drop (call $open (i32.const 288) (i32.const 10) (i32.const 1) (i64.const 64))) ;; 1: create
    ;; one call for each buffer: an engine may write the first one only
    (drop (call $fd_write (i32.load (i32.const 200)) (i32.const 0) (i32.const 1) (i32.const 20)))
    (drop (call $fd_write (i32.load (i32.const 200)) (i32.const 8) (i32.const 1) (i32.const 20)))
    (drop (call $fd_close (i32.load (i32.const 200))))
    (loop $forever (call $wait) (br $forever))))
