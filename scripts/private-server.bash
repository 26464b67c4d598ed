# Shared by mysql-server, mysql-cluster and mariadb-server, which source it: private database servers on a free port of
# 127.0.0.1. The caller sets `kind` (part of folder names) and defines `prepare` (finds or installs the server, sets
# `root`: the folder the server sees as /, empty for the machine itself), `initialize` and `launch`.

set -euo pipefail

cache=${COUNTERSIGN_CACHE:-$HOME/.cache/countersign}
PATH=$PATH:/usr/sbin

say() { echo "$kind-server: $*" >&2; }
die() { say "$*"; exit 1; }

usage() {
  cat >&2 <<EOF
usage: scripts/$kind-server start [--durable] [--port N] [--disk SIZE]
       scripts/$kind-server folder URL
       scripts/$kind-server pid URL
       scripts/$kind-server again URL
       scripts/$kind-server stop URL

start  starts a server of its own with an empty data folder and prints its URL; the user may do everything, so it
       listens on 127.0.0.1 only. By default a commit survives a crash of the server but not of the machine: right
       for tests. --durable: every commit is on disk before it is acknowledged, and 2 GiB of buffer pool: for figures.
       --disk SIZE, as root: on a file system of its own of this size, in memory.
folder prints where that server keeps its data.
pid    prints the number of that server's process.
again  starts that server again after it was killed, with the data that it had.
stop   ends that server and removes its data.
EOF
  exit 2
}

# One at a time: two test runs may start together on a machine where nothing is installed yet.
alone() {
  mkdir -p "$cache"
  exec 9>"$cache/$kind.lock"
  flock 9
}

# Installs Debian packages, or says what to do instead.
install_packages() {
  command -v apt-get >/dev/null || die "needs $*: install it, or give a server's URL in TEST_${kind^^}_URL"
  [ "$(id -u)" = 0 ] || die "needs $*: run apt-get install $* as root, or give a server's URL in TEST_${kind^^}_URL"
  say "installing $*"
  local packages=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@")
  "${packages[@]}" >&2 || { apt-get update -q >&2 && "${packages[@]}" >&2; }
}

# A port that nobody listens on, below the range that outgoing connections use.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 10000))
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
  die "found no free port"
}

start() {
  local durable=no port=
  while [ $# -gt 0 ]; do
    case $1 in
      --durable) durable=yes ;;
      --port) port=${2:?--port needs a number}; shift ;;
      --disk) disk=${2:?--disk needs a size, such as 400m}; shift ;;
      *) usage ;;
    esac
    shift
  done
  alone
  prepare
  create "${port:-$(free_port)}" "$durable"
}

# Said to a new server before anything else, a statement each.
first_words=()
# Flags of the next start alone.
once=()
# The size of the new server's own file system; empty: it has none.
disk=
# Flags of a server on a small disk: its logs must fit.
small=()

# create PORT DURABLE FLAG…: starts a new server with an empty data folder and prints its URL; DURABLE is yes or no, the
# flags are added to the usual ones.
create() {
  local port=$1 durable=$2
  shift 2
  # What the server sees, and where that is for us.
  local inside=${root:+/data}
  inside=${inside:-$cache/data}/$kind-$port
  local data=$root$inside
  [ ! -e "$data" ] || die "$data exists: another server uses port $port, or one was killed; stop it first"
  mkdir -p "$data" "$cache/servers"
  [ -z "$disk" ] || mount -t tmpfs -o "size=$disk" tmpfs "$data"
  # Where to find it again, whatever the environment says by then.
  echo "$data" >"$cache/servers/$kind-$port"
  say "initialising $data"
  initialize "$inside" >"$data.log" 2>&1 || { cat "$data.log" >&2; die "initialising failed"; }
  printf '%s\n' "${first_words[@]}" "CREATE USER IF NOT EXISTS 'root'@'%';" \
    "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;" >"$data/init.sql"
  local flags=(
    --no-defaults --user="$(id -un)" --datadir="$inside" --init-file="$inside/init.sql"
    --bind-address=127.0.0.1 --port="$port" --socket="$inside/server.sock" --pid-file="$inside/server.pid"
    --character-set-server=utf8mb4 --max-connections=2000 --skip-name-resolve
  )
  if [ "$durable" = yes ]; then
    flags+=(--innodb-flush-log-at-trx-commit=1 --sync-binlog=1 --innodb-buffer-pool-size=2G)
  else
    flags+=(--innodb-flush-log-at-trx-commit=2 --sync-binlog=0 --innodb-buffer-pool-size=256M)
  fi
  [ -z "$disk" ] || flags+=("${small[@]}")
  flags+=("$@")
  printf '%s\n' "${flags[@]}" >"$data.flags"
  if ! run "$data" "$port"; then
    stop "$port"
    die "did not start"
  fi
}

# Starts the server of a data folder and waits until it answers.
run() {
  local data=$1 port=$2 flags
  mapfile -t flags <"$data.flags"
  launch "${flags[@]}" "${once[@]}" >"$data.log" 2>&1 9>&- </dev/null &
  local server=$!
  disown "$server"
  for _ in {1..600}; do
    if grep -q 'ready for connections' "$data.log" && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "mysql://root@127.0.0.1:$port"
      return
    fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  cat "$data.log" >&2
  return 1
}

# The port of a URL whose server was started here; its data folder in `data`.
known() {
  port=${1:-}
  port=${port##*:}
  [[ $port =~ ^[0-9]+ ]] || usage
  port=${BASH_REMATCH[0]}
  [ -e "$cache/servers/$kind-$port" ] || die "no server on port $port"
  data=$(cat "$cache/servers/$kind-$port")
}

again() {
  local port data
  known "${1:-}"
  alone
  prepare
  run_again "$data" "$port"
}

# Starts a server that was killed, with the data that it had.
run_again() {
  local data=$1 port=$2 pid
  pid=$(cat "$data/server.pid")
  for _ in {1..100}; do
    # A process that nobody has waited for yet is dead as well.
    grep -qs '^State:[[:space:]]*[^Z]' "/proc/$pid/status" || break
    sleep 0.1
  done
  # What a killed server leaves behind looks as if it still ran.
  rm -f "$data"/server.sock* "$data/server.pid"
  run "$data" "$port" || die "did not start again"
}

stop_at() {
  local data=$1 pid
  if pid=$(cat "$data/server.pid" 2>/dev/null) && kill -TERM "$pid" 2>/dev/null; then
    for _ in {1..300}; do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
  fi
  ! mountpoint -q "$data" || umount "$data"
  rm -rf "$data" "$data.log" "$data.flags"
}

stop() {
  local port data
  known "${1:-}"
  stop_at "$data"
  rm -f "$cache/servers/$kind-$port"
}

main() {
  local command=${1:-}
  shift || usage
  case $command in
    start) start "$@" ;;
    pid) local port data; known "$@"; cat "$data/server.pid" ;;
    folder) local port data; known "$@"; echo "$data" ;;
    again) again "$@" ;;
    stop) stop "$@" ;;
    *) usage ;;
  esac
}
