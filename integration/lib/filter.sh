# shellcheck shell=bash
# Where this machine's v2 tree lacks controllers (v1 holds them), some engines still ask for limits in every container: ctr
# always for a CPU weight, the CRI for CPU and memory. No runtime can set those there. This puts a wrapper in front of the
# runtime that takes the wishes for absent controllers out of config.json; the limits themselves are tested on v1.

# Sets `runtime` to the wrapper if one is needed, and says so.
drop_limits_of_absent_controllers() {
  local controller absent=()
  [ "$WORLD_CGROUP" = v2 ] || return 0
  for controller in cpu memory pids; do
    grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers || absent+=("$controller")
  done
  [ ${#absent[@]} -gt 0 ] || return 0
  printf '      %-10s %s  note: this v2 tree has no %s controller: config.json loses such limits on the way to the runtime\n' \
    "$engine" "$WORLD_CGROUP" "$(paste -sd , <<<"${absent[*]}")"
  mkdir -p /tmp/filter
  cat >"/tmp/filter/${runtime##*/}" <<PYTHON
#!/usr/bin/python3
import json, os, sys
arguments = sys.argv[1:]
if "create" in arguments and "--bundle" in arguments:
    path = os.path.join(arguments[arguments.index("--bundle") + 1], "config.json")
    with open(path) as file:
        config = json.load(file)
    for controller in "${absent[*]}".split():
        config.get("linux", {}).get("resources", {}).pop(controller, None)
    with open(path, "w") as file:
        json.dump(config, file)
os.execv("$runtime", ["$runtime"] + arguments)
PYTHON
  chmod 755 "/tmp/filter/${runtime##*/}"
  runtime=/tmp/filter/${runtime##*/}
}
