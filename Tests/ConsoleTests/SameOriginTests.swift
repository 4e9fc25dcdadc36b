import HTTPTypes
import Testing

@testable import Console

@Suite("Requests of other sites")
struct SameOriginTests {
    private func verdict(_ method: HTTPRequest.Method, _ headers: [String: String]) -> SameOrigin.Verdict {
        var fields = HTTPFields()
        for (name, value) in headers { HTTPField.Name(name).map { fields[$0] = value } }
        return SameOrigin.verdict(method: method, headers: fields, host: "console.example:8090")
    }

    @Test(
        "a browser's word about the site decides, then the origin; without both it is no browser",
        arguments: [
            (["Sec-Fetch-Site": "same-origin"], SameOrigin.Verdict.allowed),
            (["Sec-Fetch-Site": "none"], .allowed),
            (["Sec-Fetch-Site": "same-site"], .refused),
            (["Sec-Fetch-Site": "cross-site"], .refused),
            // The site's word counts more than an origin that fits.
            (["Sec-Fetch-Site": "cross-site", "Origin": "https://console.example:8090"], .refused),
            (["Origin": "https://console.example:8090"], .allowed),
            (["Origin": "HTTPS://CONSOLE.EXAMPLE:8090"], .allowed),
            (["Origin": "https://console.example"], .refused),
            (["Origin": "https://evil.example"], .refused),
            (["Origin": "null"], .refused),
            ([:], .needsBearer),
        ])
    func posts(_ headers: [String: String], _ expected: SameOrigin.Verdict) {
        #expect(verdict(.post, headers) == expected)
    }

    @Test(
        "looking changes nothing, so every site may link to a page",
        arguments: [HTTPRequest.Method.get, .head, .options])
    func reads(_ method: HTTPRequest.Method) {
        #expect(verdict(method, ["Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"]) == .allowed)
    }
}
