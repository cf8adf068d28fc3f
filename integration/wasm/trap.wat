;; Fails as a program with a bug does.
(module
  (memory (export "memory") 1)
  (func $bug unreachable)
  (func (export "_start") (call $bug)))
