# Shared by check-chart and ./test, which source it: where Prometheus and promtool come from. Takes the prometheus that
# COUNTERSIGN_TEST_PROMETHEUS names, with the promtool beside it; else the installed ones; else those of Debian's package,
# fetched from the mirror that apt uses here and unpacked into the cache. Nothing is installed and no service started, so
# that any user may do it.

# prometheus_at: prints the path of prometheus; promtool is beside it.
prometheus_at() {
  local cache=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign} found
  found=${COUNTERSIGN_TEST_PROMETHEUS:-}
  if [ -n "$found" ]; then
    [ -x "$found" ] && [ -x "$(dirname "$found")/promtool" ] ||
      { echo "prometheus: COUNTERSIGN_TEST_PROMETHEUS must name a prometheus with a promtool beside it, not $found" >&2; return 1; }
    realpath "$found"
    return
  fi
  found=$(type -P prometheus) && [ -x "$(dirname "$found")/promtool" ] && { echo "$found"; return; }
  mkdir -p "$cache"
  # One at a time: two runs may start together on a machine that has none yet.
  (flock 9 && fetch_prometheus "$cache/prometheus" >&2) 9>"$cache/prometheus.lock" || return 1
  echo "$cache/prometheus/prometheus"
}

fetch_prometheus() {
  local to=$1
  [ ! -x "$to/prometheus" ] || return 0
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
    echo "prometheus: needs prometheus and promtool: install them, or name prometheus in COUNTERSIGN_TEST_PROMETHEUS"
    return 1
  }
  echo "prometheus: fetching it into $to, once, about 20 MB"
  # Made aside, so that a run that was broken off leaves nothing that looks whole.
  rm -rf "$to.new"
  mkdir -p "$to.new/lists/partial" "$to.new/archives/partial"
  # Lists of its own when those of the machine are absent or old: they are root's.
  local own=(-o "Dir::State::Lists=$to.new/lists" -o "Dir::Cache=$to.new" -o APT::Sandbox::User=)
  (
    cd "$to.new"
    apt-get -q -o APT::Sandbox::User= download prometheus ||
      { apt-get -q "${own[@]}" update && apt-get -q "${own[@]}" download prometheus; }
  ) || {
    echo "prometheus: apt-get does not bring it: install prometheus, or name it in COUNTERSIGN_TEST_PROMETHEUS"
    return 1
  }
  dpkg-deb --extract "$to.new"/prometheus_*.deb "$to.new/all" &&
    mv "$to.new/all/usr/bin/prometheus" "$to.new/all/usr/bin/promtool" "$to.new" || return 1
  "$to.new/promtool" --version | head -n 1 || { echo "prometheus: promtool of the package does not run here"; return 1; }
  rm -rf "$to.new/all" "$to.new/lists" "$to.new/archives" "$to.new"/*.deb "$to.new"/*.bin
  rm -rf "$to"
  mv "$to.new" "$to"
}
