"""Reads records of topic `events` as a backend would: checks signatures with examples/check-events.py, parses with the CloudEvents
SDK, and compares with docs/schemas and docs/asyncapi.json.

stdin: {"records": [{"key", "value", "headers": {…}}], "keys": a JSON Web Key Set, "types": [names]}, key and value in base64.
stdout: {"checked": number of records, "types": [seen], "problems": [sentences]}
"""
import base64
import importlib.util
import json
import pathlib
import sys

import jsonschema
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def example():
    spec = importlib.util.spec_from_file_location("check_events", ROOT / "examples" / "check-events.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def strict(schema):
    """The schema without room for members that it does not name: what is written is what is described."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        found["additionalProperties"] = False
    return found


def schemas():
    found = {}
    for path in (ROOT / "docs" / "schemas").glob("*.json"):
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        found[path.stem] = jsonschema.Draft202012Validator(strict(schema))
    return found


def main():
    task = json.load(sys.stdin)
    check = example()
    keys = check.Keys(lambda: task["keys"])
    validators = schemas()
    messages = json.loads((ROOT / "docs" / "asyncapi.json").read_text())["channels"]["events"]["messages"]
    problems, seen, sequences = [], set(), {}
    for record in task["records"]:
        key, value = base64.b64decode(record["key"]), base64.b64decode(record["value"])
        headers = record["headers"]
        event = from_kafka_event(KafkaMessage(
            headers={name: text.encode() for name, text in headers.items()}, key=key, value=value))
        name = event.get_type().removeprefix("beckon.")
        seen.add(name)

        def problem(text):
            problems.append(f"{name} {event.get_id()}: {text}")

        if event.get_subject() != key.decode() or event.get_extension("partitionkey") != key.decode():
            problem("subject, partitionkey and the record's key differ")
        if not isinstance(event.get_data(), dict):
            problem(f"the SDK gives {type(event.get_data())} as data")
        # Of one writer, in the order in which they were written.
        source, sequence = event.get_source(), event.get_extension("sequence")
        if sequence <= sequences.get(source, ""):
            problem(f"sequence {sequence} does not follow {sequences[source]}")
        sequences[source] = sequence
        if name not in validators:
            problem("docs/schemas has no file for this type")
        else:
            for error in validators[name].iter_errors(json.loads(value)):
                problem(f"{'/'.join(map(str, error.absolute_path))}: {error.message}")
        described = messages.get(event.get_type())
        if described is None:
            problem("docs/asyncapi.json has no message for this type")
        else:
            for error in jsonschema.Draft202012Validator(strict(described["headers"])).iter_errors(headers):
                problem(f"header {'/'.join(map(str, error.absolute_path))}: {error.message}")
            if described["payload"]["$ref"] != f"schemas/{name}.json":
                problem("docs/asyncapi.json refers to another schema")

        signature = headers.get("beckon-signature")
        if not check.is_genuine(value, signature, keys):
            problem("the example calls it forged")
        forgeries = {
            "another value": (value.replace(b"}", b" }", 1), signature), "no signature": (value, None),
            "an unknown key": (value, "x" + (signature or "")), "no base64": (value, (signature or "") + "!"),
            "another signature": (value, (signature or "").partition(":")[0] + ":" + base64.b64encode(bytes(64)).decode())}
        for what, (bytes_, header) in forgeries.items():
            if check.is_genuine(bytes_, header, keys):
                problem(f"the example calls it genuine with {what}")
    for name in task["types"]:
        if name not in seen:
            problems.append(f"{name}: no event of this type was written")
    print(json.dumps({"checked": len(task["records"]), "types": sorted(seen), "problems": problems[:50]}))


main()
