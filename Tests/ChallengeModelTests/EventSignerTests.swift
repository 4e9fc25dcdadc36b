import ChallengeModel
import Crypto
import Foundation
import Testing
import Wire

@Suite("Signed events")
struct EventSignerTests {
    @Test("a published key accepts the signature over the bytes, and refuses it over others")
    func verifies() throws {
        let ring = KeyRing(keys: KeyRing.random(id: "e2").keys + KeyRing.random(id: "e1").keys)
        let signer = EventSigner(keys: ring)
        let value = Array("{\"id\":\"YC1/challenge.approved\"}".utf8)
        let header = String(decoding: signer.signature(of: value), as: UTF8.self)
        #expect(header.hasPrefix("e2:"))
        #expect(signer.publicKeys.map(\.id) == ["e2", "e1"])
        let signature = try #require(Data(base64Encoded: String(header.dropFirst(3))))
        let key = try Curve25519.Signing.PublicKey(rawRepresentation: signer.publicKeys[0].bytes)
        #expect(key.isValidSignature(signature, for: value))
        #expect(!key.isValidSignature(signature, for: value + [0x20]))
        let former = try Curve25519.Signing.PublicKey(rawRepresentation: signer.publicKeys[1].bytes)
        #expect(!former.isValidSignature(signature, for: value))
    }

    @Test("one seed gives one public key, and the published set contains no secret")
    func keySet() throws {
        let ring = KeyRing.random(id: "e1")
        let text = EventSigner(keys: ring).keySet.text
        #expect(EventSigner(keys: ring).keySet.text == text)
        let seed = try #require(Data(base64Encoded: String(ring.text.dropFirst(3))))
        #expect(!text.contains(Base64URL.encode(seed)))
        #expect(text.contains(#""kty":"OKP""#) && text.contains(#""kid":"e1""#))
    }

    @Test("sequences sort as text, and the source names the writer")
    func attributes() throws {
        func event(_ sequence: UInt64, _ writer: EventWriter) -> CloudEvent {
            CloudEvent(
                id: "1", type: .challengeApproved, account: "AC1", service: "VA1", subject: "YC1", timeMs: 0,
                sequence: sequence, writer: writer, expiresAtMs: 1000, traceparent: "00-1-2-01", data: [:])
        }
        #expect(event(9, .producer).sequence < event(10, .producer).sequence)
        #expect(event(.max, .producer).sequence.utf8.count == 20)
        #expect(event(1, .producer).source == "beckon/AC1/VA1/producer")
        #expect(event(1, .ackTracker(partition: 7)).source == "beckon/AC1/VA1/ack-tracker-7")
        let read = try CloudEvent(json: event(1, .producer).jsonBytes())
        #expect(read.partitionkey == "YC1")
        #expect(read.expirytime == "1970-01-01T00:00:01.000Z")
        #expect(read.traceparent == "00-1-2-01")
    }

    @Test("an event of an earlier version can still be read")
    func earlier() throws {
        let json = #"""
            {"data":{},"datacontenttype":"application/json","id":"YC1/x","sequence":"7","source":"beckon/AC1/VA1",\#
            "specversion":"1.0","subject":"YC1","time":"2026-01-01T00:00:00.000Z","type":"beckon.challenge.approved"}
            """#
        let event = try CloudEvent(json: Array(json.utf8))
        #expect(event.sequence == "7" && event.partitionkey == nil && event.expirytime == nil)
    }
}
