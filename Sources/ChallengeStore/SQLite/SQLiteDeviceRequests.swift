import Foundation
import GRDB

extension SQLiteChallengeStore {
    public func useOfDeviceToken(_ fingerprint: [UInt8], nowMs: Int64) async throws -> [UInt8]? {
        try await read { database in
            try database.row(
                "SELECT request FROM device_requests WHERE fingerprint = ? AND expires_ms > ?",
                [blob(fingerprint), nowMs]
            ).map { [UInt8]($0[0] as Data) }
        }
    }
}

extension Database {
    /// The token is the request's from now on.
    /// - Returns: whether it was before.
    /// - Throws: `tokenReplayed` when it was used for another.
    func claim(_ request: DeviceRequest) throws -> Bool {
        let fingerprint = blob(request.fingerprint)
        if try changes(
            "INSERT OR IGNORE INTO device_requests (fingerprint, request, expires_ms) VALUES (?, ?, ?)",
            [fingerprint, blob(request.request), request.expiresAtMs])
        {
            return false
        }
        let used = try row("SELECT request FROM device_requests WHERE fingerprint = ?", [fingerprint])?[0] as Data?
        guard let used, [UInt8](used) == request.request else { throw StoreError.tokenReplayed }
        return true
    }

    func deleteOldDeviceRequests(limit: Int, nowMs: Int64) throws {
        try run(
            """
            DELETE FROM device_requests WHERE fingerprint IN (SELECT fingerprint FROM device_requests \
            WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?)
            """, [nowMs, limit])
    }
}
