# Shared by mysql-server and mysql-cluster, which source it: where MySQL comes from and how it is started. Takes the
# installed mysqld when it is MySQL's own (Debian calls MariaDB's so, too); else the one in COUNTERSIGN_MYSQL_ROOT, the
# root folder of a Debian system that has it; else, as root, makes such a folder in the cache from Debian's unstable suite,
# the only one with MySQL, fetched from the mirror that apt uses here.
kind=mysql
root=
source "$(dirname "${BASH_SOURCE[0]}")/private-server.bash"

installed() { command -v mysqld >/dev/null && ! mysqld --version | grep -qi mariadb; }

# The mirror that this machine's packages come from.
mirror() {
  local format='$(ORIGIN)|$(LABEL)|$(REPO_URI)'
  apt-get indextargets --format "$format" 'Created-By: Packages' | sed -n 's/^Debian|Debian|//p' | head -n 1
}

small=(--innodb-redo-log-capacity=16M --max-binlog-size=8M)

prepare() {
  installed && return
  root=${COUNTERSIGN_MYSQL_ROOT:-$cache/mysql-root}
  [ "$(id -u)" = 0 ] || die "needs MySQL's mysqld: install it, be root, or give a server's URL in TEST_MYSQL_URL"
  [ -x "$root/usr/sbin/mysqld" ] && return
  [ -z "${COUNTERSIGN_MYSQL_ROOT:-}" ] || die "no mysqld in $root"
  command -v debootstrap >/dev/null || install_packages debootstrap
  local from
  from=$(mirror)
  [ -n "$from" ] || { apt-get update -q >&2; from=$(mirror); }
  [ -n "$from" ] || die "apt knows no Debian mirror here: install mysqld, or give a server's URL in TEST_MYSQL_URL"
  say "fetching MySQL into $root, once, about 600 MB"
  # Made aside, so that a run that was broken off leaves nothing that looks whole.
  rm -rf "$root.new"
  debootstrap --variant=minbase --include=mysql-server-core,libncurses6 sid "$root.new" "$from" >"$root.log" 2>&1 || {
    tail -n 30 "$root.log" "$root.new/debootstrap/debootstrap.log" >&2 || true
    die "debootstrap failed"
  }
  rm -rf "$root.new/var/cache/apt/archives"/*.deb
  mv "$root.new" "$root"
}

server() { if [ -n "$root" ]; then exec chroot "$root" /usr/sbin/mysqld "$@"; else exec mysqld "$@"; fi; }

initialize() { (server --no-defaults --initialize-insecure --user="$(id -un)" --datadir="$1"); }

# Without secure-file-priv it wants a folder of Debian's package; mysqlx is a second protocol on a fixed port.
launch() { server "$@" --secure-file-priv=NULL --mysqlx=OFF; }
