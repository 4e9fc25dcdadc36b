"""aioapns, as it comes from PyPI, against any HTTP/2 server that echoes apns-id: count pushes with so many outstanding, one
connection. Prints one JSON line. Called by Benchmarks/send."""
import asyncio
import json
import resource
import ssl
import sys
import time

from aioapns import APNs, NotificationRequest, PushType
from aioapns import connection as transport
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

port, ca_file, count, in_flight = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
# It has no setting for the server's address.
transport.APNsProductionClientProtocol.APNS_SERVER = "localhost"
transport.APNsTLSClientProtocol.APNS_PORT = port


async def main():
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    client = APNs(key=key, key_id="KEY0000001", team_id="TEAM000001", topic="org.example.app", max_connections=1,
                  ssl_context=context)
    message = {"aps": {"alert": {"body": "x" * 371}}}
    latencies, errors, left = [], 0, iter(range(count))

    async def one(_):
        return await client.send_notification(NotificationRequest(
            device_token="ab" * 32, message=message, time_to_live=60, priority=10, push_type=PushType.ALERT))

    async def worker():
        nonlocal errors
        for number in left:
            start = time.monotonic()
            try:
                errors += not (await one(number)).is_successful
            except Exception:
                errors += 1
            latencies.append(time.monotonic() - start)

    await one(0)
    usage, start = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    latencies.sort()
    print(json.dumps({
        "pushes": count, "per_second": round(count / seconds, 1), "cpu_us_per_push": round(cpu / count * 1e6, 1),
        "p50_ms": round(latencies[count // 2] * 1000, 3), "p99_ms": round(latencies[count * 99 // 100] * 1000, 3),
        "errors": errors}))


asyncio.run(main())
