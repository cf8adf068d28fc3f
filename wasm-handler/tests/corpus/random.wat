;; Exits with 0 if it got random bytes that are not all zero.
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (call $random (i32.const 0) (i32.const 16)) (then (call $exit (i32.const 2))))
    (call $exit (i64.eqz (i64.or (i64.load (i32.const 0)) (i64.load (i32.const 8)))))))
