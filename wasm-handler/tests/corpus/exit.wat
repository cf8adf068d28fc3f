;; Exits with the status that its first argument says, in decimal.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $at i32) (local $status i32) (local $digit i32)
    (drop (call $args (i32.const 1024) (i32.const 8192)))
    (local.set $at (i32.load (i32.const 1028)))
    (block $done
      (loop $next
        (local.set $digit (i32.load8_u (local.get $at)))
        (br_if $done (i32.eqz (local.get $digit)))
        (local.set $status (i32.add (i32.mul (local.get $status) (i32.const 10))
                                    (i32.sub (local.get $digit) (i32.const 48))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (call $exit (local.get $status))))
