/** Names the build of this page. */
declare const __BUILD__: string;
