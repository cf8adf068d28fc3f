;; A component that traps.
(component
  (core module $program
    (func $innermost unreachable)
    (func (export "run") (result i32) (call $innermost) (i32.const 0)))
  (core instance $program (instantiate $program))
  (func $run (result (result)) (canon lift (core func $program "run")))
  (instance $exports (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exports)))
