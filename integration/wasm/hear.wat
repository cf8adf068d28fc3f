;; Says that it listens, reads once from its standard input and says what it heard.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "wasm heard: ")
  (data (i32.const 48) "wasm listens\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 48))
    (i32.store (i32.const 4) (i32.const 13))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
    ;; buffers: the words at 32, then what was read at 1024
    (i32.store (i32.const 0) (i32.const 32))
    (i32.store (i32.const 4) (i32.const 12))
    (i32.store (i32.const 8) (i32.const 1024))
    (i32.store (i32.const 12) (i32.const 1024))
    (drop (call $fd_read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 12)))
    ;; one call for each buffer: an engine may write the first one only
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
    (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 20)))))
