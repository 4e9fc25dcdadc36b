"""Compares every reply of a run with the API's published description, where it describes the resource.

The description is not part of this repository: it is read from BECKON_DESCRIPTION, and without it nothing is compared.
"""
import json
import os
import re

import jsonschema

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")


def load():
    path = os.environ.get("BECKON_DESCRIPTION", "")
    if not os.path.exists(path):
        print("the published description is not there (BECKON_DESCRIPTION): replies are not compared with it", flush=True)
        return None
    with open(path) as file:
        return Description(json.load(file))


class Description:
    def __init__(self, document):
        self.document = document
        self.compared = {}
        self.routes = []
        for template, item in document["paths"].items():
            pattern = re.compile("^" + re.sub(r"\{[^}]*\}", "[^/]+", template) + "$")
            self.routes.append((template.count("{"), pattern, template, item))
        # The most literal first: `Factors` is no SID.
        self.routes.sort(key=lambda route: route[0])
        self.formats = jsonschema.FormatChecker(formats=())
        self.formats.checks("date-time")(lambda value: not isinstance(value, str) or bool(TIME.match(value)))
        self.formats.checks("uri")(lambda value: not isinstance(value, str) or value.startswith("http"))

    def check(self, method, path, status, headers, body):
        """Raises when a reply is not as described. Errors have one form everywhere."""
        if status >= 400:
            error = json.loads(body)
            assert isinstance(error["code"], int) and error["status"] == status, error
            assert error["message"] and error["more_info"].startswith("http"), error
            return
        found = next(((template, item) for _, pattern, template, item in self.routes if pattern.match(path)), None)
        if found is None or method.lower() not in found[1]:
            return
        template, item = found
        responses = item[method.lower()]["responses"]
        assert str(status) in responses, f"{method} {template}: {status} is not described, only {list(responses)}"
        self.compared[(method, template)] = self.compared.get((method, template), 0) + 1
        content = responses[str(status)].get("content")
        if not content:
            assert not body, f"{method} {template}: a body with {status}"
            return
        assert headers["Content-Type"].split(";")[0] == "application/json"
        schema = content["application/json"]["schema"]
        value = json.loads(body)
        self.validate(value, schema, f"{method} {template}")

    def validate(self, value, schema, where):
        complete = self.resolved(schema)
        jsonschema.Draft202012Validator(complete, format_checker=self.formats).validate(value)
        missing = sorted(self.missing(value, complete))
        assert not missing, f"{where}: members are missing: {missing}"

    def resolved(self, schema):
        """OpenAPI 3.0 as JSON Schema: references in place, nullable as a type."""
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            return self.resolved(self.document["components"]["schemas"][name])
        result = dict(schema)
        if "properties" in result:
            result["properties"] = {name: self.resolved(value) for name, value in result["properties"].items()}
        if "items" in result:
            result["items"] = self.resolved(result["items"])
        if result.pop("nullable", False) and "type" in result:
            result["type"] = [result["type"], "null"]
            if "enum" in result:
                result["enum"] = result["enum"] + [None]
        return result

    def missing(self, value, schema):
        """What is unset is null, not absent."""
        if isinstance(value, dict) and "properties" in schema:
            for name, member in schema["properties"].items():
                if name not in value:
                    yield name
                else:
                    yield from (f"{name}.{inner}" for inner in self.missing(value[name], member))
        if isinstance(value, list) and "items" in schema:
            for item in value:
                yield from self.missing(item, schema["items"])
