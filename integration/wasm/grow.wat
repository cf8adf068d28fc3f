;; Takes memory a mebibyte at a time, touching each page. Says so and ends with 3 if it is refused before 256 MiB, else with 0.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "memory refused\n")
  (func (export "_start") (local $grown i32) (local $old i32) (local $at i32)
    (block $refused
      (loop $more
        (local.set $old (memory.grow (i32.const 16)))
        (br_if $refused (i32.eq (local.get $old) (i32.const -1)))
        (local.set $at (i32.mul (local.get $old) (i32.const 65536)))
        (loop $touch
          (i32.store (local.get $at) (i32.const 1))
          (local.set $at (i32.add (local.get $at) (i32.const 4096)))
          (br_if $touch (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
        (local.set $grown (i32.add (local.get $grown) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $grown) (i32.const 256))))
      (call $proc_exit (i32.const 0)))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 15))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $proc_exit (i32.const 3))))
