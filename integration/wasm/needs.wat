;; Wants an import that no engine provides.
(module
  (import "nobody" "provides_this" (func $missing))
  (memory (export "memory") 1)
  (func (export "_start") (call $missing)))
