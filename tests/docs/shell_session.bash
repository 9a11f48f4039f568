# What the commands of the documentation are while a test runs them. All else is the machine's own.

# Nothing is downloaded: pip says whether it could install what is there already. The checkout, ".", is installed.
pip() {
    [ "$1" = install ] || { echo "pip $1: how would that be tried?" >&2; return 1; }
    set -- "${@/#./airflow-provider-kandinsky}"
    (cd "$DOCS_ROOT" && "$DOCS_PYTHON" -m pip install --dry-run --no-index --no-deps "${@:2}")
}

# The targets are there, and make knows what to do for them.
make() { command make --dry-run --directory "$DOCS_ROOT" "$@"; }

python() {
    case "$*" in
        "-m airflow_provider_kandinsky.sandbox "*--help*) "$DOCS_PYTHON" "$@" ;;
        "-m airflow_provider_kandinsky.sandbox"*) stay "Segmind sandbox on" "$DOCS_PYTHON" "$@" ;;
        *) "$DOCS_PYTHON" "$@" ;;
    esac
}
python3() { python "$@"; }
pytest() { "$DOCS_PYTHON" -m pytest "$@"; }

airflow() {
    case "$1" in
        # It calls itself by name.
        standalone) PATH="${DOCS_AIRFLOW%/*}:$PATH" stay "Airflow is ready" "$DOCS_AIRFLOW" "$@" ;;
        *) "$DOCS_AIRFLOW" "$@" ;;
    esac
}

# What a reader leaves running in a terminal of its own: go on when it says that it is ready.
stay() {
    local ready="$1" log deadline=$((SECONDS + 180))
    log=$(mktemp --tmpdir="$HOME")
    "${@:2}" >"$log" 2>&1 &
    until grep -q "$ready" "$log"; do
        kill -0 $! && [ $SECONDS -lt $deadline ] || { cat "$log"; return 1; }
        sleep 0.1
    done
    cat "$log"
}
