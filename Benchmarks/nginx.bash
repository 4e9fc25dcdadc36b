# Sourced by the benchmarks: one nginx with one worker over TLS HTTP/2 that answers every push with 200.
# Sets folder (temporary, goes at exit), port and pids (ended at exit; add to it what else has to end).
beckon="${BECKON:-.build/release/beckon}"
[ -x "$beckon" ] || { echo "$beckon is missing: run scripts/build first" >&2; exit 1; }
PATH="$PATH:/usr/sbin"

need() { # command, Debian package
    command -v "$1" >/dev/null || { echo "$1 is missing: apt-get install $2" >&2; exit 1; }
}
need nginx nginx-light
need openssl openssl
need jq jq
need python3 python3
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
listening() { # port, process
    for _ in $(seq 200); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.05
    done
    cat "$folder/stderr" >&2
    exit 1
}

folder="$(mktemp -d)" port="$(free_port)" pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
# The echoed apns-id is what APNs does; aioapns knows its answers by it.
cat > "$folder/nginx.conf" <<CONF
daemon off;
worker_processes 1;
${nginx_affinity:+worker_cpu_affinity $nginx_affinity;}
pid $folder/nginx.pid;
error_log $folder/error.log warn;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $folder/body;
    server {
        listen 127.0.0.1:$port ssl http2;
        ssl_certificate $folder/cert.pem;
        ssl_certificate_key $folder/key.pem;
        http2_max_concurrent_streams 1024;
        keepalive_requests 1000000000;
        location / { add_header apns-id \$http_apns_id; return 200; }
    }
}
CONF
nginx -p "$folder" -c "$folder/nginx.conf" 2>"$folder/stderr" &
pids+=("$!")
listening "$port" "$!"
