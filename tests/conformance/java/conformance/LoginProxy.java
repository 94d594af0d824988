package conformance;

import java.io.*;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** A port at which clients connect without a login. Each connection goes on to another port, where it is logged in with SASL PLAIN. */
final class LoginProxy {
    private final ServerSocket server = new ServerSocket();
    private final int to;
    private final byte[] token;

    LoginProxy(int port, int to, String user, String password) throws IOException {
        this.to = to;
        token = ("\0" + user + "\0" + password).getBytes(StandardCharsets.UTF_8);
        server.setReuseAddress(true);
        server.bind(new InetSocketAddress("localhost", port));
        thread(this::accept);
    }

    private static void thread(Runnable work) {
        Thread t = new Thread(work, "login-proxy");
        t.setDaemon(true);
        t.start();
    }

    private void accept() {
        while (!server.isClosed()) {
            try {
                Socket client = server.accept();
                thread(() -> serve(client));
            } catch (IOException e) {
                // closed, or the client has gone
            }
        }
    }

    private void serve(Socket client) {
        try (client; Socket broker = new Socket("localhost", to)) {
            client.setTcpNoDelay(true);
            broker.setTcpNoDelay(true);
            ask(broker, (short) 17, (short) 1, ByteBuffer.allocate(7).putShort((short) 5).put("PLAIN".getBytes()).array());
            ask(broker, (short) 36, (short) 0, ByteBuffer.allocate(4 + token.length).putInt(token.length).put(token).array());
            thread(() -> copy(broker, client));
            copy(client, broker);
        } catch (IOException e) {
            // the client sees its connection end
        }
    }

    /** Sends a request with header version 1; its response begins with the error. */
    private static void ask(Socket broker, short api, short version, byte[] body) throws IOException {
        broker.getOutputStream().write(ByteBuffer.allocate(14 + body.length).putInt(10 + body.length).putShort(api).putShort(version).putInt(0).putShort((short) -1).put(body).array());
        DataInputStream in = new DataInputStream(broker.getInputStream());
        byte[] response = new byte[in.readInt()];
        in.readFully(response);
        short error = ByteBuffer.wrap(response, 4, 2).getShort();
        if (error != 0) throw new IOException("the login answers " + error);
    }

    private static void copy(Socket from, Socket to) {
        try (from; to) {
            from.getInputStream().transferTo(to.getOutputStream());
        } catch (IOException e) {
            // both ends are closed now
        }
    }

    void close() {
        try {
            server.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
